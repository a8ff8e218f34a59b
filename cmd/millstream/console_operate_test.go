package main

import (
	"errors"
	"net/url"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/commands"
)

func operateAProjection(t *testing.T, b *tab, _ *consoleSite) {
	b.open("/console/projections")
	b.click("link", "sales")
	b.click("button", "Pause")
	b.fill("Reason", "a look at it "+hostile)
	b.click("button", "Pause")
	b.see("sales is paused.", "Paused by dev", hostile)
	b.click("button", "Resume")
	b.click("button", "Resume") // the dialog's
	b.see("sales goes on.")
	b.until(`document.querySelector('.head .chip').textContent === 'running'`)
	b.click("button", "Rebuild")
	b.click("button", "Rebuild")
	b.see("sales is being rebuilt.")
	b.until(`[...document.querySelectorAll('tbody tr')].some((r) => r.innerText.includes('rebuild'))`)
	b.click("button", "Verify")
	b.click("button", "Verify")
	b.see("no difference to a model built from the log")
	b.open("/console/audit?what=projections")
	b.until(`['pause', 'resume', 'rebuild', 'verify'].every((k) => [...document.querySelectorAll('tbody tr')].some((r) => r.innerText.includes('sales') && r.innerText.includes(k)))`)
	b.click("button", "Record")
	b.see(`"kind":`)
}

func rollAProjectionBack(t *testing.T, b *tab, site *consoleSite) {
	for range 2000 { // more than is read at once
		site.send(t, commands.Stocks.To("p-many", commands.ReceiveStock{Quantity: 1}))
	}
	site.send(t, commands.Customers.To("late-1", commands.RegisterCustomer{Name: "Late", Email: "late@example.com"}))
	b.open("/console/projections/careless")
	b.see("careless-v1-", "up to date") // the first is kept from the version before
	site.gate.Lock()
	b.click("button", "Rebuild")
	b.fill("Reason", "it counts wrong")
	b.click("button", "Rebuild")
	b.see("Rebuilding for", "by dev")
	b.until(`document.querySelector('progress').value > 0 && document.querySelector('progress').value < document.querySelector('progress').max`)
	b.until(`/\b[1-9]\d? %, \d.* left/.test(document.querySelector('.work').innerText)`)
	b.until(the("button", "Verify") + `.getAttribute('aria-disabled') === 'true'`) // one at a time
	b.look("rebuild", "light")
	site.gate.Unlock()
	b.until(`!document.querySelector('progress') && document.querySelector('main').innerText.includes('it counts wrong')`)
	b.click("button", "Verify")
	b.click("button", "Verify")
	b.see("Differs from a model built from the log", "table careless")
	b.look("verdict", "light")
	b.click("button", "Roll back")
	b.until(the("button", "Roll back") + `.disabled`)
	b.fill("Reason", "it was better")
	b.fill("Type careless", "careless")
	b.click("button", "Roll back")
	b.see("careless is rolled back.", "it was better", "Gone back from")
	b.until(`/Serves\s+careless-v1-/.test(document.querySelector('main').innerText)`)
}

func skipACommit(t *testing.T, b *tab, _ *consoleSite) {
	b.open("/console/projections/fragile")
	b.see("Halted at revision", hostile)
	b.click("button", "Skip a commit")
	go_ := the("button", "Skip it for good")
	b.until(go_ + `.disabled`)
	b.fill("Reason", "it is nobody")
	b.fill("Type fragile", "fragil")
	if !js[bool](b, go_+`.disabled`) {
		t.Error("a wrong name is taken")
	}
	b.write("e")
	b.click("button", "Skip it for good")
	b.see("is left out of fragile.", "it is nobody")
	b.until(`document.querySelector('.head .chip').textContent === 'running'`)
}

func mendDeadLetters(t *testing.T, b *tab, site *consoleSite) {
	site.park(t, "commands.customer.m-1.RegisterCustomer", `{"nam":"Edsger"}`)
	site.park(t, "commands.customer.m-2.RegisterCustomer", `{"nam":"Barbara"}`)
	b.open("/console/dead-letters?error=" + url.QueryEscape("nam"))
	b.see("m-1")
	dropped := site.park(t, "commands.customer.m-3.RegisterCustomer", `{"nam":`+quoted(hostile)+`}`)
	b.see("m-3") // without being asked for
	b.clickOn(`[...document.querySelectorAll('tbody tr')].find((r) => r.innerText.includes('customer.m-1.')).querySelector('a')`)
	b.see(`"nam": "Edsger"`)
	b.click("button", "Retry")
	b.click("button", "Retry")
	b.until(`document.querySelector('dialog .fault').textContent.includes('nam')`) // it fails again, and says why
	b.click("button", "Close")
	b.click("button", "Resend corrected")
	b.fill("Body", `{"name": "Edsger"}`)
	b.click("button", "Send")
	b.until(`document.querySelector('.head .chip').textContent === 'resent'`)
	b.see("What was done about it")
	b.click("link", "Dead letters")
	b.see("What could not be worked off")
	if js[bool](b, `document.querySelector('main').innerText.includes('customer.m-1.')`) {
		t.Error("a letter that was mended is still there")
	}
	for _, id := range []string{"m-2", "m-3"} {
		b.clickOn(`[...document.querySelectorAll('tbody tr')].find((r) => r.innerText.includes('customer.` + id + `.')).querySelector('input')`)
	}
	b.see("2 chosen")
	b.click("button", "Retry them")
	b.click("button", "Retry")
	b.see("2 not:")
	for _, id := range []string{"m-2", "m-3"} {
		b.clickOn(`[...document.querySelectorAll('tbody tr')].find((r) => r.innerText.includes('customer.` + id + `.')).querySelector('input')`)
	}
	b.click("button", "Drop them")
	b.fill("Reason", "made up")
	b.fill("Type drop 2", "drop 2")
	b.click("button", "Drop for good")
	b.see("2 are dropped.")
	b.open("/console/dead-letters/" + dropped)
	b.see("dropped", "made up", "Gone since it is settled.")
	if no := js[string](b, the("button", "Retry")+`.getAttribute('aria-disabled')`); no != "true" {
		t.Error("what is dropped can be retried")
	}
}

func giveUpASaga(t *testing.T, b *tab, site *consoleSite) {
	site.order(t, "o-slow", "tok_timeout")
	b.open("/console/sagas?saga=fulfilment&state=open")
	b.until(the("link", "o-slow"))
	b.click("link", "o-slow")
	b.see("Waits for payment o-slow-1 since", "cancels at", "sets timer payment to")
	b.click("button", "Cancel")
	b.fill("Reason", "the customer called")
	b.fill("Type o-slow", "o-slow")
	b.click("button", "Cancel the process")
	b.see("It is cancelled.", "Cancelled by an operator", "by dev: the customer called")
	b.open("/console/timers")
	b.see("o-3")
}

// account opens what is said of the caller.
const account = `document.querySelector('.who summary')`

// logIn shows a key on the page that asks for it.
func (b *tab) logIn(key string) {
	b.t.Helper()
	b.see("Log in to the console")
	b.fill("API key or JWT", key)
	b.click("button", "Log in")
}

// why is what a button that is not for the caller says.
func (b *tab) why(button string) string {
	b.t.Helper()
	return js[string](b, `(() => { const e = `+the("button", button)+`; return e.getAttribute('aria-disabled') === 'true' ? e.title : 'it can be pressed'; })()`)
}

func logInAsViewer(t *testing.T, b *tab, site *consoleSite) {
	b.do(chromedp.Navigate(site.serve + "/console/sagas/fulfilment/o-3"))
	b.logIn("msk_0000000000000000_nonsense")
	b.until(`document.querySelector('.login .fault').textContent === 'This key or token is not known here, or no longer good. Check that all of it was copied.'`)
	b.look("login", "light")
	b.scheme("dark")
	b.look("login", "dark")
	b.scheme("light")
	b.logIn(site.keys[access.Viewer])
	b.see("Waits for payment o-3-1") // where it wanted to go
	b.look("saga-viewer", "light")
	if why := b.why("Retry"); why != "Needs the role operator; yours is viewer." {
		t.Errorf("retry: %s", why)
	}
	if why := b.why("Cancel"); why != "Needs the role admin; yours is viewer." {
		t.Errorf("cancel: %s", why)
	}
	b.click("button", "Retry")
	b.see("Retry: Needs the role operator")
	if status := js[int](b, `0 || (window.answered = 0, fetch('/ops/sagas/fulfilment/o-3/retry', { method: 'POST', body: '{}', headers: { 'Content-Type': 'application/json' } }).then((r) => { window.answered = r.status; }), 0)`); status != 0 {
		t.Fatal(status)
	}
	b.until(`window.answered === 403`) // the server decides
	b.click("link", "Dead letters")
	b.see("Not for you to see")
	b.click("link", "Audit")
	b.see("Not for you to see", "Needs the role operator")
	b.open("/console/send/orders/ShipOrder?id=o-1")
	if why := b.why("Send ShipOrder"); why != "Needs the role operator; yours is viewer." {
		t.Errorf("send: %s", why)
	}
	b.clickOn(account)
	b.click("button", "Log out")
	b.see("Log in to the console")
	b.open("/console/events")
	b.see("Log in to the console")
}

func logInAsOperator(t *testing.T, b *tab, site *consoleSite) {
	letter := site.park(t, "commands.customer.r-1.RegisterCustomer", `{}`)
	b.do(chromedp.Navigate(site.serve + "/console/dead-letters/" + letter))
	b.logIn(site.keys[access.Operator])
	b.see("Dead letter customer/r-1")
	if why := b.why("Drop"); why != "Needs the role admin; yours is operator." {
		t.Errorf("drop: %s", why)
	}
	b.clickOn(account)
	b.click("button", "Log out")
	b.logIn(site.keys[access.Admin])
	b.see("Dead letter customer/r-1")
	b.click("button", "Drop")
	b.fill("Reason", "nobody is called nothing")
	b.fill("Type "+letter, letter)
	b.click("button", "Drop for good")
	b.until(`document.querySelector('.head .chip').textContent === 'dropped'`)
	err := eventually(patience, func() error {
		var audit struct {
			Items []struct{ On, Kind, By string }
		}
		if err := getJSON(site.dev+"/ops/audit?what=deadletters&limit=500", &audit); err != nil {
			return err
		}
		for _, a := range audit.Items {
			if a.On == letter && a.Kind == "drop" && a.By == "admin-ann" {
				return nil
			}
		}
		return errors.New("the audit does not name who dropped it")
	})
	if err != nil {
		t.Error(err)
	}
}
