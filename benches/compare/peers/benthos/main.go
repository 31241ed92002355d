// A build of Benthos with the components of its core: the stream processor that target 19 compares with.
package main

import (
	"context"
	"net/http"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
)

func main() {
	// Go keeps two idle connections per host by default, and no setting of Benthos changes that. With 64 requests in flight,
	// most requests would open a connection of their own.
	if transport, ok := http.DefaultTransport.(*http.Transport); ok {
		transport.MaxIdleConnsPerHost = transport.MaxIdleConns
	}
	service.RunCLI(context.Background())
}
