package replica_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/freshet-ml/freshet/publisher/replica"
)

// A replica says why it does not answer yet.
func ExampleClient() {
	r, err := replica.New(replica.Config{ID: "r1", Model: "shop", Log: quiet()}, nil)
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(r.Handler())
	defer server.Close()
	client := replica.Client{BaseURL: server.URL, Retries: -1, HTTP: &http.Client{Transport: http.DefaultTransport}}
	_, err = client.Recommend(context.Background(), replica.Request{UserID: "u1"})
	fmt.Println(err)
	// Output: replica answers 503 not_ready: no verified version serves yet: no version has been seen yet
}
