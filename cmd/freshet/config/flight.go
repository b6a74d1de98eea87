package config

import (
	"fmt"
	"time"

	"github.com/freshet-ml/freshet/ingest/flight"
)

// Flight says where the log of sessions is shown, and whose is read.
type Flight struct {
	Listen     string        `koanf:"listen" doc:"host:port where the log is shown; auto is 127.0.0.1:9091 for ingest and none for the others; port 0 picks one"`
	Feed       []string      `koanf:"feed" doc:"nodes whose logs train and serve copy: grpc://host:9091, or grpc+tls://host:9091; with none train reads Kafka itself, and serve knows no histories"`
	Token      string        `koanf:"token" doc:"bearer token, asked for where the log is shown and sent where it is read" secret:"true"`
	TLS        FlightTLS     `koanf:"tls" doc:"PEM files"`
	AcceptGaps bool          `koanf:"accept_gaps" doc:"go on behind sessions that no node of the feed has any more, once all of them answer"`
	Keep       time.Duration `koanf:"keep" doc:"how much event time serve's histories go back"`
	KeepParts  int           `koanf:"keep_parts" doc:"parts of a user that serve keeps, the latest"`
	KeepBytes  int64         `koanf:"keep_bytes" doc:"bytes that serve's histories may have together, before compression; who was seen least recently goes first; 0 is no bound"`
}

// FlightTLS names the files of certificates.
type FlightTLS struct {
	Cert     string `koanf:"cert" doc:"certificate of this node; with it the log is shown over TLS"`
	Key      string `koanf:"key" doc:"its key"`
	CA       string `koanf:"ca" doc:"who signs the certificates of the feed's nodes; empty is whom the machine trusts"`
	ClientCA string `koanf:"client_ca" doc:"who signs the certificates that readers of the log must show; empty asks for none"`
}

// What flight.listen says besides an address.
const (
	FlightAuto = "auto"
	FlightNone = "none"
	// FlightDefault is the address of an ingest node that is given none.
	FlightDefault = "127.0.0.1:9091"
)

// Address returns where the log is shown, or "". ingest says that the process does nothing but keep the log.
func (f Flight) Address(ingest bool) string {
	switch {
	case f.Listen == FlightAuto && ingest:
		return FlightDefault
	case f.Listen == FlightAuto, f.Listen == FlightNone:
		return ""
	}
	return f.Listen
}

func (c *checker) flight(f Flight) {
	if f.Listen != FlightAuto && f.Listen != FlightNone {
		c.hostPort("flight.listen", f.Listen)
	}
	for _, address := range f.Feed {
		if err := flight.CheckNode(address); err != nil {
			c.fault("flight.feed", fmt.Sprintf("%q is not the address of a node", address), "write grpc://host:9091, or grpc+tls://host:9091")
		}
	}
	if (f.TLS.Cert == "") != (f.TLS.Key == "") {
		c.fault("flight.tls.cert", "a certificate and its key go together", "give flight.tls.key too, or neither")
	}
	if f.TLS.ClientCA != "" && f.TLS.Cert == "" {
		c.fault("flight.tls.client_ca", "readers can show certificates over TLS only", "give flight.tls.cert and flight.tls.key too")
	}
	c.duration("flight.keep", f.Keep, time.Minute)
	between(c, "flight.keep_parts", f.KeepParts, 1, 10_000)
	between(c, "flight.keep_bytes", f.KeepBytes, 0, 1<<60)
}
