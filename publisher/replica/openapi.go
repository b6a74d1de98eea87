package replica

import _ "embed"

// openAPI describes the API for programs that write clients. Tests hold it and the handlers to each other: every example is sent, every answer is held to its schema, and
// paths, methods, codes and limits are the same.
//
//go:embed openapi.json
var openAPI []byte

func (r *Replica) serveOpenAPI(x *exchange) error {
	x.out.Raw(openAPI)
	return nil
}
