package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// view is something to look at: a page, or one with something opened.
type view struct {
	name string // of its screenshots
	path string
	then func(*tab) // opens it
}

func consoleViews(letter, correlation string) []view {
	return []view{
		{"overview", "/console/", func(b *tab) { b.until(`document.querySelectorAll('.chart .curve').length > 4`) }}, // two looks make a rate
		{"events", "/console/events?from=0", nil},
		{"event", "/console/events?from=0&category=payment", func(b *tab) {
			b.until(`document.querySelectorAll('.tail > li').length >= 7`)
			b.clickOn(`document.querySelector('.tail > li > button')`)
			b.see("Event ID")
		}},
		{"trace", "/console/trace/" + correlation, nil},
		{"orders", "/console/data/orders", nil},
		{"search", "/console/data/orders?q=lovelace", nil},
		{"stock", "/console/data/stock", nil},
		{"customers", "/console/data/customers", nil},
		{"mails", "/console/data/mails", func(b *tab) { b.see("Requested at") }}, // not crowded out by what is empty
		{"accounts", "/console/data/accounts", nil},
		{"inventory", "/console/data/inventory", nil},
		{"report", "/console/data/dailySales", nil},
		{"report-months", "/console/data/financialReport", func(b *tab) { b.see("First month, as 2026-01") }},
		{"aggregate", "/console/aggregates/orders/o-1", nil},
		{"aggregate-past", "/console/aggregates/orders/o-3?version=1", nil},
		{"aggregate-none", "/console/aggregates/orders/none", nil},
		{"command", "/console/send/orders/CreateOrder", nil},
		{"command-refused", "/console/send/orders/CreateOrder?id=o-1", func(b *tab) {
			b.click("button", "Send CreateOrder")
			b.see("another look.")
		}},
		{"projections", "/console/projections", nil},
		{"projection", "/console/projections/fragile", nil},
		{"projection-mails", "/console/projections/mails", nil},
		{"skip", "/console/projections/fragile", func(b *tab) { b.click("button", "Skip a commit") }},
		{"sagas", "/console/sagas", nil},
		{"saga", "/console/sagas/fulfilment/o-3", nil},
		{"saga-cancel", "/console/sagas/fulfilment/o-3", func(b *tab) { b.click("button", "Cancel") }},
		{"timers", "/console/timers", nil},
		{"dead-letters", "/console/dead-letters", func(b *tab) { b.clickOn(`document.querySelector('tbody input')`) }},
		{"dead-letter", "/console/dead-letters/" + letter, nil},
		{"resend", "/console/dead-letters/" + letter, func(b *tab) { b.click("button", "Resend corrected") }},
		{"audit", "/console/audit", nil},
		{"keys", "/console/audit", func(b *tab) { b.press("?") }},
		{"missing", "/console/no/such/page", nil},
		{"fault", "/console/projections/nobody", nil},
	}
}

// testViews looks at every page in light, dark and narrow, keeps what it looks like in MILLSTREAM_SCREENSHOTS, and checks
// what must hold for all: nothing stored runs, no errors, texts can be read, nothing is wider than the window, everything
// that can be used has a name.
func testViews(t *testing.T, browser context.Context, site *consoleSite, views []view) {
	t.Parallel()
	b := newTab(t, browser, site.dev)
	for _, v := range views {
		b.scheme("light")
		b.size(1360, 900)
		b.open(v.path)
		if v.then != nil {
			v.then(b)
		}
		b.look(v.name, "light")
		b.scheme("dark")
		b.look(v.name, "dark")
		b.scheme("light")
		b.size(1100, 844) // what was drawn wide must shrink
		b.size(390, 844)
		b.look(v.name, "narrow")
		b.unharmed()
	}
	if !js[bool](b, `performance.getEntriesByType('resource').every((r) => new URL(r.name).origin === location.origin)`) {
		t.Error("the page loads something from elsewhere")
	}
}

// look checks what the page looks like now, and keeps it in MILLSTREAM_SCREENSHOTS, in a window as high as the page.
func (b *tab) look(name, mode string) {
	b.t.Helper()
	err := eventually(10*time.Second, func() error { // what is drawn for another width is drawn anew a frame later
		var faults []error
		for _, fault := range js[[]string](b, audit) {
			faults = append(faults, errors.New(fault))
		}
		return errors.Join(faults...)
	})
	if err != nil {
		b.t.Errorf("%s, %s: %v", name, mode, err)
	}
	dir := os.Getenv("MILLSTREAM_SCREENSHOTS")
	if dir == "" {
		return
	}
	width, height := js[int64](b, `innerWidth`), js[int64](b, `innerHeight`)
	b.size(width, min(3000, max(height, js[int64](b, `document.documentElement.scrollHeight`))))
	b.picture(dir, name+"-"+mode)
	b.size(width, height)
}

// picture keeps what the window shows as a PNG file.
func (b *tab) picture(dir, name string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// audit lists what is wrong with a page, after WCAG 2.2: contrast (1.4.3), reflow (1.4.10), names of controls (4.1.2), the
// page's language, title, heading and landmarks.
const audit = `(() => {
	const faults = [];
	const color = (text) => {
		const n = text.match(/[\d.]+(e-?\d+)?/g).map(Number);
		const [r, g, b, a = 1] = text.startsWith('color(') ? [n[0] * 255, n[1] * 255, n[2] * 255, n[3]] : n;
		return { r, g, b, a };
	};
	const over = (top, under) => ({ r: top.r * top.a + under.r * (1 - top.a), g: top.g * top.a + under.g * (1 - top.a), b: top.b * top.a + under.b * (1 - top.a), a: 1 });
	const ground = (e) => {
		if (!e) return { r: 255, g: 255, b: 255, a: 1 };
		const c = color(getComputedStyle(e).backgroundColor);
		return c.a === 1 ? c : over(c, ground(e.parentElement));
	};
	const light = ({ r, g, b }) => {
		const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
		return 0.2126 * x + 0.7152 * y + 0.0722 * z;
	};
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	const seen = new Set();
	for (let n = texts.nextNode(); n; n = texts.nextNode()) {
		const e = n.parentElement;
		if (n.data.trim() === '' || seen.has(e) || e.closest('.unseen, .skip, noscript, svg, option, [disabled], [aria-disabled=true], [hidden]') || !e.checkVisibility({ visibilityProperty: true })) continue;
		seen.add(e);
		const style = getComputedStyle(e);
		const back = ground(e);
		const [a, b] = [light(over(color(style.color), back)), light(back)].sort((x, y) => y - x);
		const size = parseFloat(style.fontSize);
		const need = size >= 24 || size >= 18.66 && style.fontWeight >= 700 ? 3 : 4.5;
		if ((a + 0.05) / (b + 0.05) < need) faults.push('contrast ' + ((a + 0.05) / (b + 0.05)).toFixed(2) + ' of "' + n.data.trim().slice(0, 40) + '"');
	}
	for (const e of document.querySelectorAll('button, a[href], input, select, textarea, summary')) {
		if (!e.checkVisibility()) continue;
		const name = e.ariaLabel || [...(e.labels ?? [])].map((l) => l.textContent).join('') || e.textContent || e.title;
		if (name.trim() === '') faults.push('no name: ' + e.outerHTML.slice(0, 120));
	}
	const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
	for (const id of new Set(ids.filter((x, i) => ids.indexOf(x) !== i))) faults.push('two things have the id ' + id);
	if (document.querySelectorAll('h1').length !== 1) faults.push(document.querySelectorAll('h1').length + ' h1');
	for (const mark of document.querySelector('.shell') ? ['main', 'nav', 'header'] : ['main']) if (!document.querySelector(mark)) faults.push('no ' + mark);
	if (document.documentElement.lang !== 'en' || !document.title.includes('·')) faults.push('language or title: ' + document.title);
	if (document.documentElement.scrollWidth > innerWidth) {
		const wide = [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, .side'));
		faults.push('wider than ' + innerWidth + ' px: ' + wide.map((e) => e.tagName + '.' + e.className).slice(0, 5).join(', '));
	}
	for (const e of document.querySelectorAll('.scroll, dialog[open]')) {
		if (e.scrollWidth > e.clientWidth + 1 && innerWidth < 600) faults.push('scrolls sideways: ' + e.outerHTML.slice(0, 80));
	}
	return faults;
})()`
