// Fan-out tells several destinations of one change to a customer: each in its own words, one after the other, and the next only when the one before
// has taken it. When the customer is deleted, each is told that, in the opposite order.
package main

import (
	"errors"
	"slices"

	"keyway"
)

// Customer is what is published; what a destination does not need is not passed on to it.
type Customer struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Email   string `json:"email"`
	Country string `json:"country"`
	// Newsletter is whether the customer has asked for it.
	Newsletter bool `json:"newsletter"`
}

func init() {
	keyway.Plugin(keyway.About{Name: "fan-out", Version: "1.0.0", Keys: []string{"customer-changed:*"}}, fanOut)
}

func main() {}

func fanOut(customer *Customer, m *keyway.Message) (keyway.Requests, error) {
	if customer == nil {
		return deleted(m)
	}
	if customer.ID == "" {
		return nil, errors.New("a customer without an id")
	}
	path := "/customers/" + keyway.Segment(customer.ID)
	requests := []*keyway.Request{
		keyway.Put("billing", path).JSON(map[string]string{"name": customer.Name, "country": customer.Country}),
		keyway.Put("search", path).JSON(map[string]string{"name": customer.Name}),
	}
	if customer.Newsletter && customer.Email != "" {
		requests = append(requests, keyway.Post("mail", "/subscribers").JSON(map[string]string{"email": customer.Email}))
	}
	return keyway.Send(requests...)
}

func deleted(m *keyway.Message) (keyway.Requests, error) {
	const prefix = "customer-changed:"
	var requests []*keyway.Request
	for _, destination := range slices.Backward([]string{"billing", "search"}) {
		requests = append(requests, keyway.Delete(destination, "/customers/"+keyway.Segment(m.Key[len(prefix):])))
	}
	return keyway.Send(requests...)
}
