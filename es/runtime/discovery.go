package runtime

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// discovery answers what NATS services are asked ($SRV.PING, $SRV.INFO and $SRV.STATS; `nats micro`) for endpoints that
// share a subscription. micro.AddService takes one for each; beside them, one for what is misspelt would hear every
// call a second time.
type discovery struct {
	info    micro.Info
	started time.Time
	failure func(err error, with ...any)
	subs    []*nats.Subscription

	mu    sync.Mutex
	stats []*micro.EndpointStats // beside info.Endpoints
}

func newDiscovery(name, version, description string, failure func(err error, with ...any)) *discovery {
	return &discovery{
		info: micro.Info{
			ServiceIdentity: micro.ServiceIdentity{Name: name, ID: newID(), Version: version, Metadata: map[string]string{}},
			Type:            micro.InfoResponseType,
			Description:     description,
		},
		started: time.Now().UTC(),
		failure: failure,
	}
}

// add makes an endpoint known. To be called before listen.
func (d *discovery) add(e micro.EndpointInfo) *micro.EndpointStats {
	stats := &micro.EndpointStats{Name: e.Name, Subject: e.Subject, QueueGroup: e.QueueGroup}
	d.info.Endpoints = append(d.info.Endpoints, e)
	d.stats = append(d.stats, stats)
	return stats
}

// count adds an answer to an endpoint's figures; refused is empty when it was a good one.
func (d *discovery) count(s *micro.EndpointStats, took time.Duration, refused string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.NumRequests++
	s.ProcessingTime += took
	s.AverageProcessingTime = s.ProcessingTime / time.Duration(s.NumRequests)
	if refused != "" {
		s.NumErrors++
		s.LastError = refused
	}
}

// listen answers from now on, as the service of a name, and as this one of them.
func (d *discovery) listen(conn *nats.Conn) error {
	for verb, answer := range map[micro.Verb]func() any{
		micro.PingVerb: func() any {
			return micro.Ping{ServiceIdentity: d.info.ServiceIdentity, Type: micro.PingResponseType}
		},
		micro.InfoVerb:  func() any { return d.info },
		micro.StatsVerb: func() any { return d.figures() },
	} {
		for _, of := range [][2]string{{}, {d.info.Name}, {d.info.Name, d.info.ID}} {
			subject, err := micro.ControlSubject(verb, of[0], of[1])
			if err != nil {
				return err
			}
			sub, err := conn.Subscribe(subject, func(m *nats.Msg) { d.answer(m, answer()) })
			if err != nil {
				return err
			}
			d.subs = append(d.subs, sub)
		}
	}
	return nil
}

func (d *discovery) answer(m *nats.Msg, with any) {
	body, err := json.Marshal(with)
	if err == nil {
		err = m.Respond(body)
	}
	if err != nil {
		d.failure(fmt.Errorf("answer %s: %w", m.Subject, err))
	}
}

func (d *discovery) figures() micro.Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	stats := micro.Stats{ServiceIdentity: d.info.ServiceIdentity, Type: micro.StatsResponseType, Started: d.started, Endpoints: slices.Clone(d.stats)}
	for i, s := range stats.Endpoints {
		now := *s
		stats.Endpoints[i] = &now
	}
	return stats
}

func (d *discovery) close() error {
	for _, sub := range d.subs {
		if err := sub.Drain(); err != nil {
			return err
		}
	}
	return nil
}
