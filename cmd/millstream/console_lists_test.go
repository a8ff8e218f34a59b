package main

import (
	"fmt"
	"testing"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// line is the row of a list that is about an aggregate, status what it says of it.
func line(id string) string {
	return `[...document.querySelectorAll('tbody tr')].find((r) => r.querySelector('a')?.innerText === ` + quoted(id) + `)`
}

func status(id string) string { return line(id) + `?.querySelector('.chip').innerText` }

// shellKnows waits until what stands around the page, which asks by itself every few seconds, knows of a revision.
func (b *tab) shellKnows(r es.Revision) {
	b.t.Helper()
	b.until(`Number(document.querySelector('.foot').innerText.match(/revision ([\d,]+)/)[1].replaceAll(',', '')) >= ` + fmt.Sprint(r))
}

// watchOrders looks at a list of orders that moves by itself while they are placed and changed elsewhere.
func watchOrders(t *testing.T, b *tab, site *consoleSite) {
	site.send(t, commands.Customers.To("c-watched", commands.RegisterCustomer{Name: "Watched", Email: "watched@example.com"}))
	order := func(id, token string) es.Revision {
		return site.send(t, commands.Orders.To(id, commands.CreateOrder{
			CustomerID: "c-watched", Currency: "USD", Items: []commands.Item{{ProductID: "p-1", Quantity: 1, Price: money.MustParse("5.00")}},
			ShippingAddress: commands.Address{Street: "1 Main St", City: "Springfield", Country: "USA"},
			Payment:         commands.OrderPayment{Method: "credit_card", Token: token},
		})).Revision
	}
	order("o-w1", "tok_ok")
	b.open("/console/data/orders?customerId=c-watched")
	b.until(status("o-w1") + ` === 'PAID'`)
	b.until(`!document.querySelector('tr.fresh')`) // the marks of before have gone
	js[any](b, `(() => { window.kept = `+line("o-w1")+`; kept.querySelector('a').focus(); })()`)

	order("o-w2", "tok_timeout")
	b.until(line("o-w2") + `.classList.contains('fresh')`)
	b.look("orders-fresh", "light")
	if !js[bool](b, line("o-w1")+` === kept && !kept.classList.contains('fresh') && document.activeElement === kept.querySelector('a')`) {
		t.Error("a row that is as it was is another, or marked, or has lost the focus")
	}
	site.send(t, commands.Orders.To("o-w1", commands.ShipOrder{TrackingNumber: "1Z-1"}))
	b.until(status("o-w1") + ` === 'SHIPPED'`)
	if !js[bool](b, line("o-w1")+` !== kept && `+line("o-w1")+`.classList.contains('fresh') && document.activeElement === `+line("o-w1")+`.querySelector('a')`) {
		t.Error("the row that has changed is not marked, or the focus has not come along")
	}
	site.send(t, commands.Orders.To("o-w2", commands.CancelOrder{Reason: "no more wanted"}))
	b.until(status("o-w2") + ` === 'CANCELLED'`)

	// What somebody has selected stays, and so does what they type a filter over.
	js[any](b, `getSelection().selectAllChildren(`+line("o-w1")+`.querySelector('a'))`)
	b.shellKnows(order("o-w3", "tok_ok"))
	b.shellKnows(order("o-w4", "tok_ok"))
	if js[bool](b, `getSelection().toString() !== 'o-w1' || Boolean(`+line("o-w3")+`)`) {
		t.Error("rows come although some are selected")
	}
	js[any](b, `getSelection().removeAllRanges()`)
	b.until(line("o-w3") + ` && ` + line("o-w4"))
	b.fill("Customer ID", "c-watch")
	b.shellKnows(order("o-w5", "tok_ok"))
	b.shellKnows(order("o-w6", "tok_ok"))
	if js[bool](b, `Boolean(`+line("o-w5")+`)`) {
		t.Error("rows come although somebody types")
	}
	b.write("ed")
	b.until(line("o-w5") + ` && ` + line("o-w6") + ` && ` + the("field", "Customer ID") + `.value === 'c-watched'`)
}

// watchAccounts reads on in a list that grows at its other end, and one whose read model stands still.
func watchAccounts(t *testing.T, b *tab, site *consoleSite) {
	account := func(id string) {
		site.send(t, commands.Accounts.To(id, commands.OpenAccount{Owner: "Watched", Currency: "EUR"}))
	}
	for i := range 60 {
		account(fmt.Sprintf("b-%02d", i))
	}
	b.open("/console/data/accounts")
	b.until(`document.querySelectorAll('tbody tr').length === 50`)
	b.until(line("b-20"))
	js[any](b, line("b-20")+`.scrollIntoView({ block: 'center', behavior: 'instant' })`)
	const at = `document.activeElement.getBoundingClientRect().top`
	js[any](b, line("b-20")+`.querySelector('a').focus()`)
	before := js[float64](b, at)
	account("a-0")
	b.until(line("a-0"))
	if after := js[float64](b, at); after < before-1 || after > before+1 || js[string](b, focused) != "b-20" {
		t.Errorf("what was read at %v px is at %v px, the focus at %s", before, after, js[string](b, focused))
	}
	b.click("button", "Show more")
	b.until(`document.querySelectorAll('tbody tr').length > 60`)
	account("a-00")
	b.see("There is something newer.")
	b.look("newer", "light")
	if js[bool](b, `Boolean(`+line("a-00")+`)`) {
		t.Error("rows come although somebody reads on")
	}
	b.click("button", "Show it")
	b.until(line("a-00") + ` && document.querySelectorAll('tbody tr').length === 50 && scrollY === 0`)
	b.until(`!document.body.innerText.includes('There is something newer.')`)

	site.act(t, "/ops/projections/accounts/pause", `{"reason":"a look at it"}`)
	account("a-000")
	b.see("This is behind what has happened")
	b.look("behind", "light")
	site.act(t, "/ops/projections/accounts/resume", `{"reason":"seen"}`)
	b.until(line("a-000") + ` && !document.body.innerText.includes('This is behind')`)
	b.forgive("/accounts?", "503") // what it was told meanwhile
}
