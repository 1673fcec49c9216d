// The plugin of the conformance tests: `do` says what to do with `value`. The same in every language.
package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"keyway"
)

type Order struct {
	Do    string          `json:"do"`
	Value json.RawMessage `json:"value"`
}

func init() {
	keyway.Plugin(keyway.About{Name: "conformance", Version: "1.0.0", Keys: []string{"conformance:*"}}, transform)
	keyway.OnReplies(replied)
}

func main() {}

func transform(order *Order, m *keyway.Message) (keyway.Requests, error) {
	if order == nil {
		return keyway.Send(keyway.Delete("sink", "/tombstone/"+keyway.Segment(m.Key)))
	}
	var text string
	_ = json.Unmarshal(order.Value, &text) // not a text for every `do`
	switch order.Do {
	case "echo":
		seen := map[string]any{"topic": m.Topic, "partition": m.Partition, "offset": m.Offset, "timestamp": nil, "key": nil, "header": nil}
		if !m.Timestamp.IsZero() {
			seen["timestamp"] = m.Timestamp.UnixMilli()
		}
		if m.HasKey {
			seen["key"] = m.Key
		}
		if header, ok := m.Header("a"); ok {
			seen["header"] = header
		}
		var value any
		if err := keyway.Parse(order.Value, &value); err != nil {
			return nil, err
		}
		seen["value"] = value
		return keyway.Send(keyway.Post("sink", "/echo").JSON(seen))
	case "text":
		return keyway.Send(keyway.Post("sink", "/text").Text(text))
	case "bytes":
		var numbers []uint16
		if err := json.Unmarshal(order.Value, &numbers); err != nil {
			return nil, err
		}
		body := make([]byte, len(numbers))
		for i, number := range numbers {
			body[i] = byte(number)
		}
		return keyway.Send(keyway.Post("sink", "/bytes").Bytes(body))
	case "many":
		var count int
		if err := json.Unmarshal(order.Value, &count); err != nil {
			return nil, err
		}
		var all keyway.Requests
		for i := range count {
			all = append(all, keyway.Get("sink", fmt.Sprintf("/many/%d", i)))
		}
		return keyway.Send(all...)
	case "path":
		return keyway.Send(keyway.Put("sink", "/path/"+keyway.Segment(text)).Query("q", text).Header("x-a", "b"))
	case "skip":
		return keyway.Skip(text)
	case "reject":
		return keyway.Reject(text)
	case "fail":
		panic(text) // it fails here
	case "setting":
		var one any
		if value, ok := keyway.Setting(text); ok {
			one = value
		}
		return keyway.Send(keyway.Post("sink", "/setting").JSON(map[string]any{"one": one, "all": keyway.Settings()}))
	case "log":
		for _, write := range []func(string, ...any){keyway.Trace, keyway.Debug, keyway.Info, keyway.Warn, keyway.Error} {
			write(text)
		}
		return keyway.Skip("logged")
	case "no-form":
		// Not by Send, which would look at it, too.
		return keyway.Requests{keyway.Post("sink", "/no-form").JSON(math.Inf(1))}, nil
	}
	return keyway.Reject("cannot do " + order.Do)
}

func replied(m *keyway.Message, exchanges []keyway.Exchange) (keyway.Next, error) {
	last := exchanges[len(exchanges)-1]
	var headers []string
	for _, header := range last.Headers {
		headers = append(headers, header[0]+"="+header[1])
	}
	request := last.Request
	seen := fmt.Sprintf("%s %s %s %s %d %s %s", m.Key, request.Method, request.Destination, request.Path, last.Status, strings.Join(headers, ","), last.Body)
	switch last.Status {
	case 200:
		return keyway.Next{}, nil
	case 201:
		return keyway.Next{Requests: keyway.Requests{keyway.Post("sink", fmt.Sprintf("/next/%d", len(exchanges))).Text(seen)}}, nil
	case 202:
		return keyway.Next{Requests: keyway.Requests{keyway.Post("sink", "/bytes").Bytes(last.Body), keyway.Delete("sink", "/second")}}, nil
	case 299:
		return keyway.Next{Requests: keyway.Requests{keyway.Post("sink", "/no-form").JSON(math.Inf(1))}}, nil
	case 400:
		return keyway.Next{}, fmt.Errorf("%s", seen)
	case 503:
		return keyway.Next{Retry: true, After: 1500 * time.Millisecond}, nil
	case 504:
		return keyway.Next{Retry: true}, nil
	}
	panic(fmt.Sprintf("the sky fell at %d", last.Status)) // the replies fail here
}
