package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// newBrowser starts Chromium, or skips the test where there is none. Tabs are children of the context.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium here, which the console is tried in: apt-get install --no-install-recommends chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(ctx)
	t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("chromium does not start: %v", err)
	}
	return ctx
}

// tab is one browser tab with cookies of its own.
type tab struct {
	t   *testing.T
	ctx context.Context
	url string // of the site

	mu       sync.Mutex
	messages []string // of the browser's console, that should not be
	breaches []string // of the content security policy, on whatever page of the tab
}

// newTab opens a tab. What its console says of errors, and breaches of the content security policy, fail the test.
func newTab(t *testing.T, browser context.Context, url string) *tab {
	t.Helper()
	ctx, end := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	tab := &tab{t: t, ctx: ctx, url: url}
	said := chromedp.Console(ctx)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for m, err := range said {
			if err != nil {
				return
			}
			refused := m.Source == "network" && strings.Contains(m.Text, "the server responded with a status of 4")
			if (m.Type == "error" || m.Type == "warning" || m.IsException()) && !refused && !strings.Contains(m.Text, "WebSocket connection") {
				tab.mu.Lock()
				tab.messages = append(tab.messages, fmt.Sprintf("%s (%s:%d)", m, m.URL, m.Line))
				tab.mu.Unlock()
			}
		}
	}()
	tab.watch()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the page at the end:\n%s", js[string](tab, `location.pathname + location.search + '\n' + (document.querySelector('dialog[open], main') ?? document.body).innerText.slice(0, 1500)`))
		}
		tab.unharmed()
		end()
		<-heard
		tab.mu.Lock()
		defer tab.mu.Unlock()
		for _, m := range tab.messages {
			t.Errorf("the browser's console: %s", m)
		}
	})
	tab.scheme("light")
	tab.size(1360, 900)
	return tab
}

// forgive drops what the browser's console has said that holds all of these texts; something must.
func (b *tab) forgive(texts ...string) {
	b.t.Helper()
	err := eventually(patience, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		before := len(b.messages)
		b.messages = slices.DeleteFunc(b.messages, func(m string) bool {
			return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(m, text) })
		})
		if len(b.messages) == before {
			return fmt.Errorf("the browser's console says nothing of %q", texts)
		}
		return nil
	})
	if err != nil {
		b.t.Error(err)
	}
}

// watch writes down what the content security policy stops, as the browser tells it at once: what a page tries as it is
// left is not missed. An empty list is the proof that nothing tried.
func (b *tab) watch() {
	b.t.Helper()
	err := chromedp.Listen(b.ctx, func(event any) {
		added, ok := event.(*audits.EventIssueAdded)
		if !ok || added.Issue.Details.ContentSecurityPolicyIssueDetails == nil {
			return
		}
		breach := added.Issue.Details.ContentSecurityPolicyIssueDetails
		place := "nowhere"
		if at := breach.SourceCodeLocation; at != nil {
			place = fmt.Sprintf("%s:%d", at.URL, at.LineNumber+1)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.breaches = append(b.breaches, fmt.Sprintf("%s %s %s at %s", breach.ViolatedDirective, breach.ContentSecurityPolicyViolationType, breach.BlockedURL, place))
	})
	if err == nil {
		_, err = chromedp.Call(b.ctx, audits.Enable, cdp.Empty{})
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// stopped is what the policy has stopped since it was last asked.
func (b *tab) stopped() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	breaches := b.breaches
	b.breaches = nil
	return breaches
}

// unharmed checks that nothing that was stored has run, nor tried to.
func (b *tab) unharmed() {
	b.t.Helper()
	if js[bool](b, `document.documentElement.dataset.ran !== undefined || document.querySelector('img[src="x"]') !== null`) {
		b.t.Errorf("a stored text became markup at %s", js[string](b, `location.pathname`))
	}
	for _, breach := range b.stopped() {
		b.t.Errorf("the policy had to stop %s", breach)
	}
}

// js evaluates an expression. null is the zero value.
func js[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil && !errors.Is(err, chromedp.ErrJSNull) && !errors.Is(err, chromedp.ErrJSUndefined) {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// size sets the window's.
func (b *tab) size(width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
}

// scheme sets what the system prefers: light or dark, and that nothing moves.
func (b *tab) scheme(name string) {
	b.t.Helper()
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, media); err != nil {
		b.t.Fatal(err)
	}
}

// open loads an address anew and waits until its page is there.
func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.url + path))
	b.settled()
}

// settled waits until the page shows what it asked for.
func (b *tab) settled() {
	b.t.Helper()
	b.until(`document.querySelector('h1') && !document.querySelector('.loading, .booting')`)
}

// until waits for a condition. One that cannot be asked yet is not met.
func (b *tab) until(condition string) {
	b.t.Helper()
	b.await("it is not so that "+strings.ReplaceAll(condition, finder, "the"), condition)
}

func (b *tab) await(otherwise, condition string) {
	b.t.Helper()
	err := eventually(patience, func() error {
		if !js[bool](b, `(() => { try { return Boolean(`+condition+`) } catch { return false } })()`) {
			return errors.New(otherwise)
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// see waits for texts to be shown, hidden ones left out.
func (b *tab) see(texts ...string) {
	b.t.Helper()
	for _, text := range texts {
		b.await("nowhere is shown: "+text, `document.body.innerText.includes(`+quoted(text)+`)`)
	}
}

// finder finds what a person would by its name: a button, link or field, in the dialog when one is open.
const finder = `((kind, name) => {
	const root = [...document.querySelectorAll('dialog[open]')].at(-1) ?? document;
	const seen = (e) => e.checkVisibility();
	const said = (e) => (e.getAttribute('aria-label') ?? e.innerText).trim();
	if (kind === 'field') {
		const label = [...root.querySelectorAll('label')].filter(seen).find((l) => l.textContent.replace('*', '').trim().startsWith(name));
		return label?.control ?? [...root.querySelectorAll('input, select, textarea')].filter(seen).find((e) => e.ariaLabel === name) ?? null;
	}
	const all = [...root.querySelectorAll({ button: 'button, summary', link: 'a[href]', row: 'tr, li' }[kind])].filter(seen);
	return all.find((e) => said(e) === name) ?? all.find((e) => said(e).startsWith(name)) ?? null;
})`

func the(kind, name string) string {
	return finder + `(` + quoted(kind) + `, ` + quoted(name) + `)`
}

// click presses the mouse on what has a name, once it is there and nothing lies over it.
func (b *tab) click(kind, name string) {
	b.t.Helper()
	b.mouse("no "+kind+" called "+name+" can be clicked", the(kind, name))
}

func (b *tab) clickOn(element string) {
	b.t.Helper()
	b.mouse("this cannot be clicked: "+element, element)
}

func (b *tab) mouse(otherwise, element string) {
	b.t.Helper()
	place := `(() => {
		let e = null;
		try { e = ` + element + `; } catch { } // not there yet
		if (!e || e.disabled) return [];
		e.scrollIntoView({ block: 'center' });
		const r = e.getClientRects()[0]; // of its first line
		const [x, y] = [r.x + Math.min(r.width / 2, 60), r.y + r.height / 2];
		const top = document.elementFromPoint(x, y);
		return top && (e === top || e.contains(top)) ? [x, y] : [];
	})()`
	var at []float64
	err := eventually(patience, func() error {
		before := at
		if at = js[[]float64](b, place); len(at) != 2 || !slices.Equal(at, before) { // nor does it move
			return errors.New(otherwise)
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.do(chromedp.MouseClickXY(at[0], at[1]))
}

// fill types into a field in place of what it holds; into a list of choices it puts the one of that value.
func (b *tab) fill(field, text string) {
	b.t.Helper()
	element := the("field", field)
	b.await("there is no field "+field, element)
	if js[bool](b, `(() => { const e = `+element+`; e.focus(); if (e.tagName !== 'SELECT') { e.select(); return false; }
		e.value = `+quoted(text)+`; e.dispatchEvent(new Event('change', { bubbles: true })); return true; })()`) {
		return
	}
	b.write(text)
}

// write types a text where the focus is.
func (b *tab) write(text string) {
	b.t.Helper()
	if text == "" {
		b.press("\b")
		return
	}
	if _, err := chromedp.Call(b.ctx, input.InsertText, input.InsertTextParams{Text: text}); err != nil {
		b.t.Fatal(err)
	}
}

// press presses keys, one after the other. Letters and signs are shortcuts here: what they would write is left out, as
// a browser does when a page takes them; write writes.
func (b *tab) press(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		if k < " " || k > "~" || len(k) > 1 {
			b.do(chromedp.KeyEvent(k))
			continue
		}
		for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeRawKeyDown, input.DispatchKeyEventTypeKeyUp} {
			if _, err := chromedp.Call(b.ctx, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: kind, Key: k}); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}
