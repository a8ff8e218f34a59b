package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

var address = commands.Address{Street: "1 Main St", City: "Springfield", State: "IL", ZipCode: "62701", Country: "USA"}

// quickstart is what `dev` prints to be pasted next.
var quickstart = []es.Effect{
	commands.Customers.To("c-1", commands.RegisterCustomer{Name: "Ada Lovelace", Email: "ada@example.com"}),
	commands.Stocks.To("p-1", commands.ReceiveStock{Quantity: 100}),
	commands.Orders.To("o-1", commands.CreateOrder{
		CustomerID: "c-1", Currency: "USD",
		Items:           []commands.Item{{ProductID: "p-1", Quantity: 2, Price: money.MustParse("19.99")}},
		ShippingAddress: address,
		Payment:         commands.OrderPayment{Method: "credit_card", Token: "tok_ok"},
	}),
}

// demo keeps a small shop busy until ctx ends: an order a second, most of them paid, shipped some seconds later and
// then delivered. Every tenth card is declined.
func demo(ctx context.Context, send func(context.Context, es.Effect) es.Reply) error {
	names := []string{"Ada Lovelace", "Alan Turing", "Grace Hopper", "Edsger Dijkstra", "Barbara Liskov"}
	prices := []string{"19.99", "4.50", "249.00", "0.99", "74.95"}
	opened := fmt.Sprintf("demo-%d", time.Now().Unix()) // ids of their own for each run on the same data
	for i, name := range names {
		if err := must(send(ctx, commands.Customers.To(fmt.Sprintf("c-%d", i+1), commands.RegisterCustomer{Name: name, Email: fmt.Sprintf("c-%d@example.com", i+1)}))); err != nil {
			return err
		}
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	const shipsAfter, deliversAfter, refills = 5, 9, 60
	order := func(n int) string { return fmt.Sprintf("%s-%d", opened, n) }
	for n := 0; ; n++ {
		var effects []es.Effect
		if n%refills == 0 {
			for p := range prices {
				effects = append(effects, commands.Stocks.To(fmt.Sprintf("p-%d", p+1), commands.ReceiveStock{Quantity: 200}))
			}
		}
		create := commands.CreateOrder{
			CustomerID: fmt.Sprintf("c-%d", 1+rand.IntN(len(names))), Currency: "USD", ShippingAddress: address,
			Payment: commands.OrderPayment{Method: "credit_card", Token: "tok_ok"},
		}
		if n%10 == 9 {
			create.Payment.Token = "tok_declined"
		}
		for range 1 + rand.IntN(3) {
			p := rand.IntN(len(prices))
			create.Items = append(create.Items, commands.Item{ProductID: fmt.Sprintf("p-%d", p+1), Quantity: 1 + rand.Int64N(3), Price: money.MustParse(prices[p])})
		}
		effects = append(effects, commands.Orders.To(order(n), create))
		if n >= shipsAfter {
			effects = append(effects, commands.Orders.To(order(n-shipsAfter), commands.ShipOrder{TrackingNumber: fmt.Sprintf("1Z%06d", n)}))
		}
		if n >= deliversAfter {
			effects = append(effects, commands.Orders.To(order(n-deliversAfter), commands.DeliverOrder{}))
		}
		for _, effect := range effects {
			if err := must(send(ctx, effect)); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// must lets pass what the business may say, such as that a declined order cannot be shipped.
func must(r es.Reply) error {
	switch r.Outcome {
	case es.Accepted, es.Unchanged, es.RejectedReply:
		return nil
	default:
		return fmt.Errorf("demo: %s: %s: %s", r.Stream, r.Outcome, r.Error.Message)
	}
}
