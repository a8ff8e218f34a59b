package projectors

import (
	_ "embed" // the whole projector

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
)

//go:embed sales.sql
var salesText string

// Sales is the daily sales and financial report, per currency. It is plain SQL.
var Sales = es.SQLProjector("sales", 1, salesText, events.All)
