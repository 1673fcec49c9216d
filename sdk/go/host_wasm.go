//go:build wasm

package keyway

import (
	"fmt"
	"path"
	"runtime"
	"strings"
	"time"

	"keyway/internal/hooks/about"
	"keyway/internal/hooks/replies"
	"keyway/internal/hooks/transform"
	_ "keyway/internal/wit/exports"
	"keyway/internal/wit/keyway_transform_about"
	"keyway/internal/wit/keyway_transform_config"
	"keyway/internal/wit/keyway_transform_log"
	"keyway/internal/wit/keyway_transform_types"
	witTypes "keyway/internal/wit/types"
)

func hostLog(level uint8, line string) { keyway_transform_log.Log(level, line) }

func hostSetting(name string) (string, bool) {
	value := keyway_transform_config.Get(name)
	return value.SomeOr(""), value.IsSome()
}

func hostSettings() [][2]string { return pairs(keyway_transform_config.All()) }

// exported is `replies` in a component that exports them: `keyway build` sets it as it links.
var exported string

func init() {
	transform.Transform = func(m keyway_transform_types.Message) (verdict keyway_transform_types.Verdict) {
		defer report()
		requests, err := Handle(message(m))
		if why, is := IsSkip(err); is {
			return keyway_transform_types.MakeVerdictSkip(wellFormed(why))
		}
		if err != nil {
			return keyway_transform_types.MakeVerdictReject(wellFormed(err.Error()))
		}
		return keyway_transform_types.MakeVerdictSend(wire(requests))
	}
	about.Describe = func() keyway_transform_about.Description {
		defer report()
		switch {
		case registered.transform == nil:
			panic("there is no plugin: call keyway.Plugin in `init`")
		case exported == "replies" && registered.replies == nil:
			panic("keyway.OnReplies is called, but not in `init`")
		}
		found := registered.about
		schema := witTypes.None[string]()
		if found.SettingsSchema != "" {
			schema = witTypes.Some(found.SettingsSchema)
		}
		return keyway_transform_about.Description{Name: found.Name, Version: found.Version, Keys: found.Keys, SettingsSchema: schema}
	}
	replies.OnReplies = func(m keyway_transform_types.Message, exchanges []keyway_transform_types.Exchange) (next keyway_transform_types.Next) {
		defer report()
		seen := make([]Exchange, len(exchanges))
		for i, e := range exchanges {
			request := NewRequest(e.Request.Method, e.Request.Destination, e.Request.Path)
			request.Headers = pairs(e.Request.Headers)
			if e.Request.Body.IsSome() {
				request.body, request.kind = content(e.Request.Body.Some())
			}
			body, _ := content(e.Body)
			seen[i] = Exchange{Request: request, Status: int(e.Status), Headers: pairs(e.Headers), Body: body}
		}
		found, err := HandleReplies(message(m), seen)
		switch {
		case err != nil:
			return keyway_transform_types.MakeNextReject(wellFormed(err.Error()))
		case found.Retry && found.After > 0:
			return keyway_transform_types.MakeNextRetry(witTypes.Some(uint64(found.After.Milliseconds())))
		case found.Retry:
			return keyway_transform_types.MakeNextRetry(witTypes.None[uint64]())
		case len(found.Requests) > 0:
			return keyway_transform_types.MakeNextSend(wire(found.Requests))
		}
		return keyway_transform_types.MakeNextDone()
	}
}

// report logs a panic with its places in the plugin's own files, innermost first, and lets it go on, which ends in a trap.
func report() {
	cause := recover()
	if cause == nil {
		return
	}
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	var places strings.Builder
	for shown := 0; shown < 8; {
		frame, more := frames.Next()
		if own := strings.HasPrefix(frame.Function, "main."); own {
			fmt.Fprintf(&places, " at %s:%d (%s)", path.Base(frame.File), frame.Line, strings.TrimPrefix(frame.Function, "main."))
			shown++
		}
		if !more {
			break
		}
	}
	// The place first: the host cuts a long line.
	Error("panic%s: %v", places.String(), cause)
	panic(cause)
}

func message(m keyway_transform_types.Message) *Message {
	found := &Message{Topic: m.Topic, Partition: m.Partition, Offset: m.Offset, Key: m.Key.SomeOr(""), HasKey: m.Key.IsSome()}
	if m.Timestamp.IsSome() {
		found.Timestamp = time.UnixMilli(int64(m.Timestamp.Some())).UTC()
	}
	if m.Payload.IsSome() {
		found.Payload = []byte(m.Payload.Some())
	}
	for _, header := range m.Headers {
		found.Headers = append(found.Headers, Header{header.F0, header.F1})
	}
	if len(m.Attributes) > 0 {
		found.Attributes = make(map[string]string, len(m.Attributes))
	}
	for _, attribute := range m.Attributes {
		found.Attributes[attribute.F0] = attribute.F1
	}
	return found
}

func wire(requests Requests) []keyway_transform_types.Request {
	out := make([]keyway_transform_types.Request, len(requests))
	for i, r := range requests {
		body := witTypes.None[keyway_transform_types.Body]()
		switch r.kind {
		case textBody:
			body = witTypes.Some(keyway_transform_types.MakeBodyText(string(r.body)))
		case bytesBody:
			body = witTypes.Some(keyway_transform_types.MakeBodyBytes(r.body))
		}
		headers := make([]witTypes.Tuple2[string, string], len(r.Headers))
		for j, header := range r.Headers {
			headers[j] = witTypes.Tuple2[string, string]{F0: wellFormed(header[0]), F1: wellFormed(header[1])}
		}
		out[i] = keyway_transform_types.Request{
			Destination: wellFormed(r.Destination), Method: wellFormed(r.Method), Path: wellFormed(r.Path), Headers: headers, Body: body,
		}
	}
	return out
}

func content(body keyway_transform_types.Body) ([]byte, bodyKind) {
	if body.Tag() == keyway_transform_types.BodyText {
		return []byte(body.Text()), textBody
	}
	return body.Bytes(), bytesBody
}

func pairs(from []witTypes.Tuple2[string, string]) [][2]string {
	out := make([][2]string, len(from))
	for i, pair := range from {
		out[i] = [2]string{pair.F0, pair.F1}
	}
	return out
}
