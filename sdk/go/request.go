package keyway

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Request is one HTTP request, built step by step: `keyway.Post("orders", "/orders").JSON(order)`.
type Request struct {
	Destination, Method, Path string
	Headers                   [][2]string

	body []byte
	kind bodyKind
	err  error
}

type bodyKind uint8

const (
	noBody bodyKind = iota
	textBody
	bytesBody
)

// NewRequest is a request with any method. Path and query begin with `/` and are joined to the destination's base URL.
func NewRequest(method, destination, path string) *Request {
	return &Request{Destination: destination, Method: strings.ToUpper(method), Path: path}
}

// Get is `GET`.
func Get(destination, path string) *Request { return NewRequest("GET", destination, path) }

// Post is `POST`.
func Post(destination, path string) *Request { return NewRequest("POST", destination, path) }

// Put is `PUT`.
func Put(destination, path string) *Request { return NewRequest("PUT", destination, path) }

// Patch is `PATCH`.
func Patch(destination, path string) *Request { return NewRequest("PATCH", destination, path) }

// Delete is `DELETE`.
func Delete(destination, path string) *Request { return NewRequest("DELETE", destination, path) }

// Header adds a header. The host refuses `Host`, `Content-Length`, hop-by-hop headers and names that begin with `keyway-`.
func (r *Request) Header(name, value string) *Request {
	r.Headers = append(r.Headers, [2]string{name, value})
	return r
}

// Query adds `name=value` to the query, both percent-encoded.
func (r *Request) Query(name string, value any) *Request {
	join := "?"
	if strings.Contains(r.Path, "?") {
		join = "&"
	}
	r.Path += join + Segment(name) + "=" + Segment(value)
	return r
}

// JSON sets the body to this value as JSON, and `content-type` unless there is one. A value without a form in JSON rejects the record.
func (r *Request) JSON(body any) *Request {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(body)
	r.with(bytes.TrimSuffix(text.Bytes(), []byte("\n")), textBody, "application/json")
	r.err = err
	return r
}

// Text sets the body to this text, and `content-type` unless there is one.
func (r *Request) Text(body string) *Request {
	return r.with([]byte(wellFormed(body)), textBody, "text/plain; charset=utf-8")
}

// Bytes sets the body to these bytes, and `content-type` unless there is one.
func (r *Request) Bytes(body []byte) *Request {
	return r.with(body, bytesBody, "application/octet-stream")
}

// Body is what the request carries; nil when it carries none.
func (r *Request) Body() []byte { return r.body }

func (r *Request) with(body []byte, kind bodyKind, contentType string) *Request {
	r.body, r.kind, r.err = body, kind, nil
	for _, header := range r.Headers {
		if strings.EqualFold(header[0], "content-type") {
			return r
		}
	}
	return r.Header("content-type", contentType)
}
