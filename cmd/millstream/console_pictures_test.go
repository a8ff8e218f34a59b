package main

import (
	"bytes"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// TestConsolePictures makes the pictures of docs/console.md anew, of `dev --demo`, into the directory
// MILLSTREAM_PICTURES.
func TestConsolePictures(t *testing.T) {
	dir := os.Getenv("MILLSTREAM_PICTURES")
	if dir == "" {
		t.Skip("set MILLSTREAM_PICTURES=docs/console, as an absolute path, to make the pictures of the documentation anew")
	}
	browser := newBrowser(t)
	p, err := launchNode(nil, "dev", "--demo", "--data", t.TempDir(), "--nats", "127.0.0.1:0", "--http", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.bury(t) })
	nc := connect(t, p.NATS)
	for subject, body := range map[string]string{
		"commands.order.o-7.ShipOrdr":            `{"trackingNumber":"1Z-7"}`,
		"commands.stock.p-2.ReceiveStock":        `{"quantity":-5}`,
		"commands.customer.c-9.RegisterCustomer": `{"nam":"Edsger Dijkstra","email":"edsger@example.com"}`,
	} {
		if err := nc.Publish(subject, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	b := newTab(t, browser, p.HTTP)
	b.size(1120, 660)
	b.open("/console/")
	b.until(figure("dead letters") + ` === 3`)
	b.until(`JSON.parse(sessionStorage.getItem('console.figures')).length >= 25`) // so that there are lines to see
	b.keep(dir, "overview")
	b.size(390, 660)
	b.keep(dir, "phone")
	b.size(1120, 660)
	b.open("/console/events?type=OrderPaid")
	b.clickOn(`[...document.querySelectorAll('.tail > li > button')].at(-1)`)
	b.click("link", "Follow the correlation")
	b.see("fulfilment heard back")
	b.size(1000, 640)
	b.keep(dir, "story")
	b.size(1120, 660)
	b.scheme("dark")
	b.click("link", "order/")
	b.until(`document.querySelector('.json')`)
	js[any](b, `document.querySelector('input[type=range]').focus()`)
	b.press(kb.Home, kb.ArrowRight)
	b.until(`document.querySelector('.line.minus')`)
	b.keep(dir, "aggregate")
	b.scheme("light")
	b.open("/console/projections/orders")
	b.click("button", "Verify")
	b.click("button", "Verify")
	b.see("no difference to a model built from the log")
	b.click("button", "Dismiss")
	b.keep(dir, "projection")
	b.open("/console/dead-letters")
	b.clickOn(`[...document.querySelectorAll('tbody tr')].find((r) => r.innerText.includes('customer/c-9')).querySelector('a')`)
	b.see("Resend corrected")
	b.keep(dir, "dead-letter")
}

// keep makes a picture, packed as well as can be, which must stay small.
func (b *tab) keep(dir, name string) {
	b.t.Helper()
	b.picture(dir, name)
	path := filepath.Join(dir, name+".png")
	data, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	shown, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		b.t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&packed, shown); err != nil {
		b.t.Fatal(err)
	}
	if packed.Len() >= 120_000 {
		b.t.Errorf("%s.png has %d bytes, more than the documentation should carry", name, packed.Len())
	}
	if err := os.WriteFile(path, packed.Bytes(), 0o644); err != nil {
		b.t.Fatal(err)
	}
}
