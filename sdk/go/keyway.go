// Package keyway is the SDK for Go: a record's JSON in, requests out.
//
// It owns the way from the contract's types to Go's and back. It promises that a payload that does not fit becomes a reject with
// encoding/json's own words, and that a panic of the plugin reaches the log with its place in the source before the call traps.
package keyway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// About is what a plugin says of itself.
type About struct {
	// Keys are patterns of the keys that the plugin handles: exact (`order.created`), prefix (`order:*`) or `*`. Without any, the name of the
	// plugin's file is the key.
	Keys []string
	// Name and Version are for people.
	Name, Version string
	// SettingsSchema is a JSON Schema for the plugin's `[settings]`.
	SettingsSchema string
}

// Message is one record.
type Message struct {
	Topic     string
	Partition uint32
	Offset    uint64
	// Timestamp is the zero time when the record carries none.
	Timestamp time.Time
	// Key is empty, and HasKey false, when the record has no key that is UTF-8.
	Key    string
	HasKey bool
	// Headers may hold a name more than once.
	Headers []Header
	// Payload as it came; nil for a tombstone.
	Payload    []byte
	Attributes map[string]string
}

// Header is one of a record's headers.
type Header struct {
	Name  string
	Value []byte
}

// Header is the last header of this name, if its value is UTF-8, and whether there is one.
func (m *Message) Header(name string) (string, bool) {
	for i := len(m.Headers) - 1; i >= 0; i-- {
		if m.Headers[i].Name == name {
			return string(m.Headers[i].Value), utf8.Valid(m.Headers[i].Value)
		}
	}
	return "", false
}

// IsTombstone is whether the record has no payload, which in a compacted topic says that the key is deleted.
func (m *Message) IsTombstone() bool { return m.Payload == nil }

// Requests are what is to be performed, in this order. Made by Send.
type Requests []*Request

// Send performs these requests, in this order.
func Send(requests ...*Request) (Requests, error) { return whole(requests, nil) }

// whole gives the requests, unless one of them has a body that could not be written: without its body it must not be sent.
func whole(requests Requests, err error) (Requests, error) {
	if err != nil {
		return nil, err
	}
	for _, request := range requests {
		if request.err != nil {
			return nil, fmt.Errorf("body of %s %s: %w", request.Method, request.Path, request.err)
		}
	}
	return requests, nil
}

// Skip says that the record needs nothing.
func Skip(why string) (Requests, error) { return nil, skipped(why) }

// Reject says that the record is bad and will stay bad: it becomes a dead letter. Any other error does the same, with its text.
func Reject(why string) (Requests, error) { return nil, errors.New(why) }

type skipped string

func (s skipped) Error() string { return string(s) }

// Exchange is one request that was performed, with its reply.
type Exchange struct {
	Request *Request
	Status  int
	Headers [][2]string
	// Body is cut off at the host's cap.
	Body []byte
}

// Next is what to do after replies. Its zero value says that the record is delivered.
type Next struct {
	// Requests to perform further.
	Requests Requests
	// Retry has the last requests sent again, after this long, or by the destination's own backoff when After is 0.
	Retry bool
	After time.Duration
}

// What the plugin has registered; one plugin for each component.
var registered struct {
	about     About
	transform func(*Message) (Requests, error)
	replies   func(*Message, []Exchange) (Next, error)
}

// Plugin registers the plugin; call it in `init`. The payload is read as JSON into a T. When T is a pointer, a tombstone is nil; otherwise a tombstone is rejected.
func Plugin[T any](about About, transform func(payload T, m *Message) (Requests, error)) {
	registered.about = about
	takesTombstones := reflect.TypeFor[T]().Kind() == reflect.Pointer
	registered.transform = func(m *Message) (Requests, error) {
		var payload T
		switch {
		case m.Payload != nil:
			if err := Parse(m.Payload, &payload); err != nil {
				return nil, err
			}
			// The payload `null` is a value like any other, and must not be taken for a deletion.
			if takesTombstones && reflect.ValueOf(payload).IsNil() {
				return Reject(fmt.Sprintf("payload: null, which is no value of %T", payload))
			}
		case !takesTombstones:
			return Reject("the record is a tombstone (it has no payload)")
		}
		return transform(payload, m)
	}
}

// OnReplies registers what sees the replies to the requests so far, whatever their status; an error rejects the record. Call it in `init`, too.
//
// `keyway build` looks for this function in what is linked, so it must not be dissolved in its callers.
//
//go:noinline
func OnReplies(onReplies func(m *Message, exchanges []Exchange) (Next, error)) {
	registered.replies = onReplies
}

// Handle is one record through the plugin, for the plugin's own tests. An error is a reject, unless IsSkip says otherwise.
func Handle(m *Message) (Requests, error) { return whole(registered.transform(m)) }

// HandleReplies is the replies so far through what OnReplies has registered, for the plugin's own tests. An error is a reject.
func HandleReplies(m *Message, exchanges []Exchange) (Next, error) {
	next, err := registered.replies(m, exchanges)
	next.Requests, err = whole(next.Requests, err)
	return next, err
}

// IsSkip is whether this error is a skip, and why.
func IsSkip(err error) (why string, is bool) {
	var found skipped
	is = errors.As(err, &found)
	return string(found), is
}

// Parse reads JSON. Numbers in an `any` become json.Number, so that no digit is lost. A lone surrogate is an error, as in every language's SDK.
func Parse(text []byte, into any) error {
	if lone := loneSurrogate(text); lone != "" {
		return fmt.Errorf("payload: lone surrogate %s", lone)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("unexpected end of JSON input")
		}
		return fmt.Errorf("payload: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("payload: trailing characters after byte %d", decoder.InputOffset())
	}
	return nil
}

// loneSurrogate is the first escape of a surrogate without its other half.
func loneSurrogate(text []byte) string {
	surrogate := func(at int) byte { // 'h' for a high one, 'l' for a low one
		if at+6 > len(text) || text[at] != '\\' || text[at+1] != 'u' || text[at+2]|0x20 != 'd' {
			return 0
		}
		switch c := text[at+3] | 0x20; {
		case c == '8' || c == '9' || c == 'a' || c == 'b':
			return 'h'
		case c >= 'c' && c <= 'f':
			return 'l'
		}
		return 0
	}
	for at := 0; ; {
		next := bytes.IndexByte(text[at:], '\\')
		if next < 0 {
			return ""
		}
		at += next
		switch surrogate(at) {
		case 0:
			at += 2
		case 'h':
			if surrogate(at+6) == 'l' {
				at += 12
				continue
			}
			fallthrough
		default:
			return string(text[at : at+6])
		}
		if at >= len(text) {
			return ""
		}
	}
}

// Segment is a value as one segment of a path: everything but `A-Z a-z 0-9 - . _ ~` is percent-encoded, so that a slash in it cannot lead elsewhere.
func Segment(value any) string {
	const hex = "0123456789ABCDEF"
	var out strings.Builder
	for _, b := range []byte(wellFormed(fmt.Sprint(value))) {
		if 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("-._~", b) >= 0 {
			out.WriteByte(b)
		} else {
			out.Write([]byte{'%', hex[b>>4], hex[b&15]})
		}
	}
	return out.String()
}

// wellFormed replaces what is not UTF-8 by U+FFFD, since text that is not would trap.
func wellFormed(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
