package estest

import "github.com/millstream-es/millstream/es"

// The conformance suite's own domain: a counter.

type counterEvent interface {
	es.Event
	counterEvent()
}

type counted struct {
	By   int64  `json:"by"`
	Note string `json:"note,omitempty"`
}

type reset struct{}

func (counted) EventType() string { return "Counted" }
func (counted) counterEvent()     {}
func (reset) EventType() string   { return "Reset" }
func (reset) counterEvent()       {}

type count struct {
	By int64 `json:"by" jsonschema:"minimum=1"`
}

func (count) CommandType() string { return "Count" }

type counter struct{ sum int64 }

func (c counter) Decide(wish count, _ es.Meta) ([]counterEvent, error) {
	return []counterEvent{counted{By: wish.By}}, nil
}

func (c counter) Evolve(event counterEvent) counter {
	switch e := event.(type) {
	case counted:
		c.sum += e.By
	case reset:
		c.sum = 0
	}
	return c
}

func counterDomain() es.Domain {
	return es.Domain{
		Name:       "counters",
		Events:     []es.EventDef{es.EventOf[counted](1), es.EventOf[reset](1)},
		Aggregates: []es.Aggregate{es.Define[counter]("counter", count{}), es.Define[counter]("meter", count{})},
	}
}
