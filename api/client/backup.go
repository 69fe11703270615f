package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
)

// Backup asks for a backup of all that the region has, in the form of package
// region/backup, which tells whether it is whole. With base, the id of an earlier
// one, and since, its position, it is incremental. The body has to be closed. The
// error is as of the other methods; it is not tried again.
func (c *Client) Backup(ctx context.Context, base string, since string) (io.ReadCloser, error) {
	u := c.base + "/v1/backup"
	if base != "" {
		u += "?" + url.Values{"base": {base}, "since": {since}}.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	// It takes as long as it takes.
	stream := &http.Client{Transport: c.http.Transport}
	res, err := stream.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxAnswerBytes))
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	return nil, problem(res, body)
}
