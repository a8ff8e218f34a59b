package ops

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// benchCall sends commands over NATS: one caller on one aggregate beside one raw publisher, then all workers, then all
// of them at half the rate they reached, beside raw publishers at that rate.
func benchCall(ctx context.Context, s *benchSite, r *BenchReport) error {
	template, config, err := s.template(ctx)
	if err != nil {
		return err
	}
	bare, err := openBare(ctx, s.js, config, template, s.Events, s.names)
	if err != nil {
		return err
	}
	if err := s.warmUp(ctx); err != nil {
		return err
	}
	nc, _, err := s.connect(s.server)
	if err != nil {
		return err
	}
	hot := contender{"call, 1 caller", s.Events, closed(1, func(ctx context.Context, _ int) error { return s.call(ctx, nc, 0) })}
	one := bare.publishing(1)
	one.name += ", 1 publisher"
	if r.Results, err = s.alternate(ctx, hot, one); err != nil {
		return err
	}
	r.Ratios = append(r.Ratios, medianRatio(r.Results[0], r.Results[1]))

	own := newShares(s.Workers, s.Aggregates)
	op := func(ctx context.Context, w int) error { return s.call(ctx, nc, own.next(w)) }
	top, err := s.alternate(ctx, contender{fmt.Sprintf("call, %d callers", s.Workers), s.Events, closed(s.Workers, op)}, bare.publishing(s.Workers))
	if err != nil {
		return err
	}
	r.Results = append(r.Results, top...)
	r.Ratios = append(r.Ratios, throughput(top[0], top[1]))

	rate := func() float64 { return top[0].PerSecond / 2 }
	half, err := s.alternate(ctx, contender{"call, at half of that", s.Events, paced(s.Workers, rate, op)},
		contender{"raw publish, at the same rate", s.Events, paced(s.Workers, rate, bare.inTurn(s.Workers))})
	r.Results = append(r.Results, half...)
	return err
}

// call sends one command and waits for its reply.
func (s *benchSite) call(ctx context.Context, nc *nats.Conn, i int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request := s.command(i)
	to := request.Meta.Stream
	m, err := nc.RequestWithContext(ctx, "call."+to.Category+"."+to.ID+"."+request.Type, request.Data)
	if err != nil {
		return err
	}
	if refused := m.Header.Get(micro.ErrorHeader); refused != "" {
		return fmt.Errorf("call on %s: %s", to, refused)
	}
	return nil
}
