// Package millstream embeds nats.conf, so that the embedded server and a clustered deploy are configured by one text.
package millstream

import _ "embed"

// NATSConf is the server configuration of a clustered deploy; es/natsstore starts the embedded server from it too.
//
//go:embed nats.conf
var NATSConf string
