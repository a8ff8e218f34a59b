package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// consolePages are the addresses of every page, by the name of its screenshots.
func consolePages(letter, correlation string) [][2]string {
	return [][2]string{
		{"overview", "/console/"},
		{"events", "/console/events?from=0"},
		{"trace", "/console/trace/" + correlation},
		{"orders", "/console/data/orders"},
		{"search", "/console/data/orders?q=lovelace"},
		{"customers", "/console/data/customers"},
		{"accounts", "/console/data/accounts"},
		{"report", "/console/data/dailySales"},
		{"aggregate", "/console/aggregates/orders/o-1"},
		{"aggregate-past", "/console/aggregates/orders/o-3?version=1"},
		{"aggregate-none", "/console/aggregates/orders/none"},
		{"command", "/console/send/orders/CreateOrder"},
		{"projections", "/console/projections"},
		{"projection", "/console/projections/fragile"},
		{"projection-mails", "/console/projections/mails"},
		{"sagas", "/console/sagas"},
		{"saga", "/console/sagas/fulfilment/o-3"},
		{"timers", "/console/timers"},
		{"dead-letters", "/console/dead-letters"},
		{"dead-letter", "/console/dead-letters/" + letter},
		{"audit", "/console/audit"},
		{"missing", "/console/no/such/page"},
	}
}

// testPages opens every page in light, dark and narrow, keeps what it looks like in MILLSTREAM_SCREENSHOTS, and checks
// what must hold for all: nothing stored runs, no errors, texts can be read, nothing is wider than the window, everything
// that can be used has a name.
func testPages(t *testing.T, browser context.Context, site *consoleSite, letter, correlation string) {
	t.Parallel()
	b := newTab(t, browser, site.dev)
	for _, page := range consolePages(letter, correlation) {
		name, path := page[0], page[1]
		b.scheme("light")
		b.size(1360, 900)
		b.open(path)
		if name == "overview" {
			b.until(`document.querySelectorAll('.chart .curve').length > 4`) // two looks make a rate
		}
		b.look(name, "light")
		b.scheme("dark")
		b.look(name, "dark")
		b.scheme("light")
		b.size(390, 844)
		b.look(name, "narrow")
		if wide := js[string](b, `document.documentElement.scrollWidth > innerWidth ? [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, .side')).map((e) => e.tagName + '.' + e.className).slice(0, 5).join(', ') || 'something' : ''`); wide != "" {
			t.Errorf("%s is wider than 390 px: %s", name, wide)
		}
		b.unharmed()
	}
	if !js[bool](b, `performance.getEntriesByType('resource').every((r) => new URL(r.name).origin === location.origin)`) {
		t.Error("the page loads something from elsewhere")
	}
}

// look checks what the page looks like now, and keeps it.
func (b *tab) look(name, mode string) {
	b.t.Helper()
	for _, fault := range js[[]string](b, audit) {
		b.t.Errorf("%s, %s: %s", name, mode, fault)
	}
	dir := os.Getenv("MILLSTREAM_SCREENSHOTS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, strings.Join([]string{name, mode}, "-")+".png"), picture, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// audit lists what is wrong with a page, after WCAG 2.2: contrast (1.4.3), names of controls (4.1.2), the page's
// language, title, heading and landmarks.
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
	for (const mark of ['main', 'nav', 'header']) if (!document.querySelector(mark)) faults.push('no ' + mark);
	if (document.documentElement.lang !== 'en' || !document.title.includes('·')) faults.push('language or title: ' + document.title);
	return faults;
})()`
