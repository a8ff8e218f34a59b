package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/millstream-es/millstream/commands"
)

// TestConsoleInABrowser tries the console in a real browser, against an engine with the whole domain and all doors. The
// stories share both, each in a tab and with things of its own.
func TestConsoleInABrowser(t *testing.T) {
	t.Parallel()
	browser := newBrowser(t)
	site := newConsoleSite(t)
	site.fill(t)
	letter := site.park(t, "commands.order.o-shown.CreateOrdr", `{"note":`+quoted(hostile)+`}`)
	story := site.order(t, "o-story", "tok_ok")
	site.state(t, "orders/o-story", "PAID")
	// First all pages as they are, then what changes them.
	t.Run("pages", func(t *testing.T) {
		views := consoleViews(letter, story.CommandID)
		for i := range 2 { // tabs, side by side
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				testViews(t, browser, site, views[i*len(views)/2:(i+1)*len(views)/2])
			})
		}
	})
	t.Run("stories", func(t *testing.T) {
		for name, run := range map[string]func(*testing.T, *tab, *consoleSite){
			"the overview tells what goes on":                  readTheOverview,
			"an order is placed by its form and paid":          placeAnOrder,
			"a list of orders moves by itself":                 watchOrders,
			"a list is read on while it grows":                 watchAccounts,
			"a projection is paused, resumed and more":         operateAProjection,
			"a projection is rebuilt, differs and is put back": rollAProjectionBack,
			"a halted projection skips a commit":               skipACommit,
			"dead letters are mended":                          mendDeadLetters,
			"an aggregate's past is walked through":            walkThePast,
			"a correlation is followed":                        followACorrelation,
			"events are paused, and survive a cut":             followEvents,
			"a saga is given up":                               giveUpASaga,
			"all of it goes by keyboard":                       useTheKeyboard,
			"colours can be chosen":                            chooseColours,
			"on a phone the menu opens over the page":          useAPhone,
			"back, forward and reload keep their place":        goBack,
			"what must not run is stopped, and this is seen":   seeBreaches,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				run(t, newTab(t, browser, site.dev), site)
			})
		}
		for name, run := range map[string]func(*testing.T, *tab, *consoleSite){
			"a viewer logs in, looks, and may do no more": logInAsViewer,
			"an operator may do some, an admin all":       logInAsOperator,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				run(t, newTab(t, browser, site.serve), site)
			})
		}
	})
}

// figure is what stands large above a text.
func figure(text string) string {
	return `Number([...document.querySelectorAll('.count, .tile')].find((e) => e.innerText.includes(` + quoted(text) + `)).querySelector('.figure').textContent.replaceAll(',', ''))`
}

func readTheOverview(t *testing.T, b *tab, site *consoleSite) {
	b.open("/console/")
	b.see("fast", "survives the end of the process, not a power cut", "stuck sagas", "up to date")
	b.until(`document.querySelectorAll('.chart svg').length === 4 && document.querySelectorAll('.chart .curve').length > 4`)
	site.park(t, "commands.customer.seen-1.RegisterCustomer", `{"nam":"Seen"}`)
	err := eventually(patience, func() error { // others park and drop meanwhile
		var truth struct{ DeadLetters int }
		if err := getJSON(site.dev+"/ops/overview", &truth); err != nil {
			return err
		}
		if shown := js[int](b, figure("dead letters")); shown != truth.DeadLetters {
			return fmt.Errorf("%d dead letters are shown, there are %d", shown, truth.DeadLetters)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for range 20 {
		site.send(t, commands.Stocks.To("p-seen", commands.ReceiveStock{Quantity: 1}))
	}
	b.until(`document.querySelector('.ticker').innerText.includes('stock/p-seen')`) // by the live connection
	b.until(figure("Commands") + ` > 0 && ` + figure("Events") + ` > 0`)
	b.until(`/accepted: now .*, at most [\d.,]*[1-9]/.test(document.querySelector('.chart svg').ariaLabel)`)
	b.clickOn(`document.querySelector('a.count')`)
	b.see("What could not be worked off", "seen-1")
}

// seeBreaches tries what the policy forbids: if nothing were noticed here, the other tests would prove nothing.
func seeBreaches(t *testing.T, b *tab, _ *consoleSite) {
	b.open("/console/audit")
	js[any](b, `(() => { const s = document.createElement('script'); try { s.text = 'document.documentElement.dataset.ran = 1'; } catch { } document.body.append(s); })()`)
	js[any](b, `(() => { try { document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="document.documentElement.dataset.ran=1">'); } catch { } })()`)
	if js[bool](b, `document.documentElement.dataset.ran !== undefined`) {
		t.Error("a script of a text ran")
	}
	b.open("/console/audit") // and leave nothing of it but what the tab has noticed
	if breaches := b.stopped(); len(breaches) != 2 {
		t.Errorf("two breaches were noticed as %q", breaches)
	}
	b.forgive("'TrustedScript'")
	b.forgive("'TrustedHTML'")
}

func placeAnOrder(t *testing.T, b *tab, site *consoleSite) {
	b.open("/console/data/orders")
	b.click("link", "Create order")
	b.see("ID of the order")
	b.click("button", "Send CreateOrder")
	b.see("The ID must be 1 to 64 letters")
	b.click("button", "Fill in the example")
	b.fill("ID of the order", "o-form")
	b.fill("Quantity", "1000001")
	b.fill("Currency", "usd")
	b.click("button", "Send CreateOrder")
	b.until(the("field", "Quantity") + `.getAttribute('aria-invalid') === 'true'`) // the server's faults, at their fields
	b.until(the("field", "Currency") + `.getAttribute('aria-invalid') === 'true'`)
	b.see("must be at most 1000000")
	if said := js[string](b, `document.getElementById(`+the("field", "Quantity")+`.getAttribute('aria-describedby').split(' ').at(-1)).textContent`); !strings.Contains(said, "1000000") {
		t.Errorf("at the quantity stands %q", said)
	}
	b.fill("Currency", "USD")
	b.fill("Quantity", "3")
	b.fill("Price", "0.10")
	b.click("button", "Add item")
	b.clickOn(`document.querySelectorAll('.entry')[1].querySelector('input')`)
	b.write("p-1")
	b.press(kb.Tab)
	b.write("1")
	b.press(kb.Tab)
	b.write("99999999.99") // more digits than a float of 32 bits has
	b.click("button", "Send CreateOrder")
	b.see("accepted")
	b.look("command-accepted", "light")
	b.click("link", "See it")
	b.see("order/o-form")
	b.until(`document.querySelector('.head .chip').textContent === 'PAID'`) // by the live connection
	b.see("100000000.29")
	site.state(t, "orders/o-form", "PAID")
	b.click("link", "Orders")
	b.see("Customer name")
	b.fill("Search", "o-form")
	b.click("button", "Show")
	b.until(`document.querySelectorAll('tbody tr').length === 1 && document.querySelector('tbody tr').innerText.includes('100000000.29 USD')`)
}

func walkThePast(t *testing.T, b *tab, site *consoleSite) {
	site.order(t, "o-past", "tok_ok")
	site.state(t, "orders/o-past", "PAID")
	site.send(t, commands.Orders.To("o-past", commands.ShipOrder{TrackingNumber: "1Z-7"}))
	b.open("/console/aggregates/orders/o-past")
	b.see("SHIPPED; allowed now: DeliverOrder", `"status": "SHIPPED"`)
	b.until(`document.querySelector('.line.minus').innerText.includes('PAID') && document.querySelector('.line.plus').innerText.includes('SHIPPED')`)
	b.press("[")
	b.until(`document.querySelector('.line.plus')?.innerText.includes('PAID')`)
	b.until(`new URL(location).searchParams.get('version') === '2'`)
	js[any](b, `document.querySelector('input[type=range]').focus()`)
	b.press(kb.Home)
	b.until(`document.querySelector('.json').innerText.includes('"status": "CREATED"') && !document.querySelector('.line.minus')`)
	if v := js[string](b, `document.querySelector('input[type=range]').getAttribute('aria-valuetext')`); v != "version 1, OrderCreated" {
		t.Errorf("the slider says %q", v)
	}
	b.do(chromedp.Reload())
	b.settled()
	b.until(`document.querySelector('.json')?.innerText.includes('"status": "CREATED"')`) // the address keeps its place
	b.press("]", "]")
	b.until(`document.querySelector('.line.plus')?.innerText.includes('SHIPPED')`)
	site.send(t, commands.Orders.To("o-past", commands.DeliverOrder{}))
	b.until(`document.querySelector('.line.plus')?.innerText.includes('DELIVERED') && document.querySelector('.head .chip').textContent === 'DELIVERED'`)
}

func followACorrelation(t *testing.T, b *tab, _ *consoleSite) {
	b.open("/console/events?category=order&from=0")
	b.clickOn(`[...document.querySelectorAll('.tail li')].find((e) => e.innerText.includes('OrderCreated') && e.innerText.includes('order/o-story')).querySelector('button')`)
	b.see("Only this stream", "Event ID")
	b.click("link", "Follow the correlation")
	b.see("MarkOrderPaid", "PaymentProcessed", "fulfilment reacted")
	steps := js[int](b, `document.querySelectorAll('[role=treeitem]').length`)
	if drawn := js[int](b, `document.querySelectorAll('.edges .glyph').length`); steps < 10 || drawn != steps {
		t.Errorf("%d steps, %d of them drawn", steps, drawn)
	}
	if edges := js[int](b, `document.querySelectorAll('.edges .edge').length`); edges != steps-1 {
		t.Errorf("%d edges between %d steps of one tree", edges, steps)
	}
	b.clickOn(`[...document.querySelectorAll('[role=treeitem]')].find((e) => e.innerText.includes('PaymentProcessed'))`)
	b.see(`"transactionId"`)
	b.press(kb.ArrowLeft)
	b.until(`document.querySelector('[aria-selected=true]').getAttribute('aria-level') === String(document.activeElement.getAttribute('aria-level')) && document.activeElement.innerText.includes('command')`)
	b.press(kb.Home)
	b.until(`document.activeElement === document.querySelector('[role=treeitem]')`)
	b.open("/console/trace/nobody-knows-it")
	b.see("No event carries this correlation ID")
}

// rows counts the events shown of a stream.
const rows = `[...document.querySelectorAll('.tail > li > button')].filter((e) => e.innerText.includes('stock/p-live')).length`

func followEvents(t *testing.T, b *tab, site *consoleSite) {
	receive := func() { site.send(t, commands.Stocks.To("p-live", commands.ReceiveStock{Quantity: 1})) }
	receive()
	b.open("/console/events?stream=stock%2Fp-live&from=0")
	b.until(rows + ` === 1`)
	receive()
	b.until(rows + ` === 2`)
	b.press("p")
	b.see("Paused")
	receive()
	b.see("1 new")
	if n := js[int](b, rows); n != 2 {
		t.Errorf("%d are shown while it is paused", n)
	}
	b.click("button", "Go on")
	b.until(rows + ` === 3`)
	site.refuse.Store(true)
	site.cut()
	b.see("Disconnected", "what is shown may be old")
	b.look("disconnected", "light")
	receive()
	receive()
	site.refuse.Store(false)
	b.click("button", "Connect now")
	b.until(rows + ` === 5`)
	b.see("Live · 5 shown")
	b.until(`!document.body.innerText.includes('Disconnected')`)
	b.fill("Type", "OrderCreated")
	b.see("No events yet")
	b.fill("Stream", "stok")
	b.click("button", "Follow")
	b.until(`document.querySelector('.notice.bad')`)
}

func goBack(t *testing.T, b *tab, _ *consoleSite) {
	b.open("/console/data/customers")
	b.click("link", "c-2")
	b.see("customer/c-2")
	b.click("link", "Audit")
	b.see("Every action of an operator")
	js[any](b, `history.back()`)
	b.see("customer/c-2")
	js[any](b, `history.forward()`)
	b.see("Every action of an operator")
	b.do(chromedp.Reload())
	b.settled()
	b.see("Every action of an operator")
	if title := js[string](b, `document.title`); title != "Audit · Console" {
		t.Errorf("the title is %q", title)
	}
	if at := js[string](b, `document.querySelector('[aria-current=page]').innerText.trim()`); at != "Audit" {
		t.Errorf("the navigation says %q", at)
	}
	if style := js[string](b, `getComputedStyle(document.body).fontFamily`); style == "" {
		t.Error("there are no styles")
	}
}

func chooseColours(t *testing.T, b *tab, _ *consoleSite) {
	b.open("/console/")
	ground := func() string { return js[string](b, `getComputedStyle(document.body).backgroundColor`) }
	light := ground()
	b.click("button", "Colours: as the system has it")
	b.click("button", "Colours: light")
	b.until(`document.documentElement.dataset.theme === 'dark'`)
	dark := ground()
	b.do(chromedp.Reload())
	b.settled()
	if ground() != dark || light == dark {
		t.Errorf("light is %s, dark %s, after a reload %s", light, dark, ground())
	}
}

func useAPhone(t *testing.T, b *tab, _ *consoleSite) {
	b.size(390, 844)
	b.open("/console/")
	if js[bool](b, the("link", "Sagas")+` !== null && getComputedStyle(document.querySelector('.side')).visibility === 'visible'`) {
		t.Error("the menu is open from the start")
	}
	b.click("button", "Menu")
	b.click("link", "Sagas")
	b.see("A process of a saga")
	b.until(`!document.querySelector('.side').classList.contains('open')`)
	b.click("button", "Menu")
	b.until(`document.querySelector('.side').contains(document.activeElement)`)
	b.look("menu", "narrow")
	b.press(kb.Escape)
	b.until(`document.activeElement.ariaLabel === 'Menu'`)
}

// focused is the name of what has the focus.
const focused = `(document.activeElement.ariaLabel ?? document.activeElement.innerText).trim()`

func useTheKeyboard(t *testing.T, b *tab, site *consoleSite) {
	site.order(t, "o-keys", "tok_ok")
	site.state(t, "orders/o-keys", "PAID")
	b.open("/console/")
	b.press(kb.Tab)
	b.until(focused + ` === 'Skip to content'`)
	b.press(kb.Enter)
	b.until(`document.activeElement.id === 'main'`)
	b.press(kb.Tab)
	if !js[bool](b, `document.querySelector('main').contains(document.activeElement) && getComputedStyle(document.activeElement).outlineStyle !== 'none'`) {
		t.Errorf("after the skip the focus is at %q, or cannot be seen", js[string](b, focused))
	}
	b.press("?")
	b.see("Keyboard shortcuts")
	b.press(kb.Escape)
	b.until(`!document.querySelector('dialog')`)
	b.press("g", "p")
	b.see("Each read model follows the log by itself")
	b.until(`document.activeElement.tagName === 'H1'`)
	b.tabTo("customers")
	b.press(kb.Enter)
	b.until(the("button", "Pause"))
	b.tabTo("Pause")
	b.press(kb.Enter)
	b.until(`document.activeElement.tagName === 'TEXTAREA'`)
	b.write("by keyboard")
	b.tabTo("Pause")
	b.press(kb.Enter)
	b.see("customers is paused.")
	b.until(`!document.querySelector('dialog') && document.activeElement.tagName === 'H1'`) // the button is gone
	b.tabTo("Resume")
	b.press(kb.Enter)
	b.until(`document.querySelector('dialog[open]')`)
	b.tabTo("Resume")
	b.press(kb.Enter)
	b.see("customers goes on.")
	b.until(`!document.querySelector('dialog')`)
	b.press("/")
	b.until(`document.activeElement.type === 'search'`)
	b.write("order/o-keys")
	b.press(kb.Enter)
	b.see("order/o-keys", "PAID; allowed now")
	b.tabTo("ShipOrder")
	b.press(kb.Enter)
	b.see("Tracking number")
	b.until(the("field", "ID of the order") + `?.value === 'o-keys'`)
	b.until(`document.activeElement.tagName === 'H1'`)
	b.tabTo("Send ShipOrder")
	b.press(kb.Enter)
	b.see("One field needs another look.")
	b.until(`document.activeElement === ` + the("field", "Tracking number")) // where it is wrong
	b.write("1Z-1")
	b.press(kb.Enter)
	b.see("accepted")
	site.state(t, "orders/o-keys", "SHIPPED")
}

// tabTo presses Tab until something of a name has the focus.
func (b *tab) tabTo(name string) {
	b.t.Helper()
	for range 120 {
		b.press(kb.Tab)
		if js[string](b, focused) == name {
			return
		}
	}
	b.t.Fatalf("120 times Tab, and %q never had the focus", name)
}
