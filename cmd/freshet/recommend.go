package main

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
)

// Run asks a replica what to recommend, and prints the answer.
func (c *RecommendCmd) Run(ctx context.Context, a *app) error {
	request := replica.Request{UserID: c.User, K: c.K, Scene: c.Scene, Exclude: c.Exclude}
	for i, item := range c.Click {
		at := a.now().Add(time.Duration(i-len(c.Click)) * time.Second)
		request.Clicks = append(request.Clicks, replica.RequestClick{ItemID: item, Action: schema.ActionClick, Timestamp: schema.EventTime(at.UnixMilli())})
	}
	client := replica.Client{Replicas: c.Server, Token: c.Token}
	if c.CallerFlags != (CallerFlags{}) {
		var err error
		if client.HTTP, err = c.client(); err != nil {
			return fmt.Errorf("recommend: %w", err)
		}
	}
	answer, err := client.Recommend(ctx, request)
	if err != nil {
		return untrusted(err)
	}
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(answer)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\titem\tscore\tsource\t\n")
	for i, item := range answer.Items {
		fmt.Fprintf(w, "%d\t%s\t%.3f\t%s\t\n", i+1, item.ItemID, item.Score, item.Source)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	through := "no click yet"
	if answer.Model.TrainedThrough != 0 {
		through = answer.Model.TrainedThrough.Time().Format(time.RFC3339)
	}
	_, err = fmt.Fprintf(a.stdout, "model %s, version %d, trained through %s\n", answer.Model.Name, answer.Model.Version, through)
	return err
}
