package region

import "time"

// RequestStatus tells of the requests that are remembered under idempotency keys.
type RequestStatus struct {
	Keys  uint64 `json:"keys"`
	Bytes uint64 `json:"bytes"`
	// Twice counts requests that were carried out in two regions before these
	// knew of each other, Latest are the last of them.
	Twice  uint64          `json:"twice"`
	Latest []RequestRepeat `json:"latest"`
}

// RequestRepeat is a request that was carried out twice. Both changes stand.
type RequestRepeat struct {
	// Collection and ID name the document, or the first of a batch.
	Collection string `json:"collection"`
	ID         string `json:"id"`
	// SameBody is false if a key was used for two different requests.
	SameBody bool            `json:"same_body"`
	Changes  []RepeatedWrite `json:"changes"`
}

// RepeatedWrite is one of the changes that were made for one request.
type RepeatedWrite struct {
	Dot    string    `json:"dot"`
	Region string    `json:"region"`
	Time   time.Time `json:"time"`
}

func (r *Region) requestStatus() RequestStatus {
	p := r.published.Load()
	out := RequestStatus{
		Keys: p.requests.Keys, Bytes: p.requests.Bytes, Twice: p.requests.Twice,
		Latest: make([]RequestRepeat, len(p.requests.Repeats)),
	}
	for i, x := range p.requests.Repeats {
		name := x.Collection.String()
		if col, err := p.catalog.Collection(name); err == nil {
			name = col.Name
		}
		out.Latest[i] = RequestRepeat{Collection: name, ID: x.ID, SameBody: x.SameBody, Changes: []RepeatedWrite{
			{x.First.String(), p.catalog.Region(x.First.Replica), x.FirstStamp.Time().UTC()},
			{x.Second.String(), p.catalog.Region(x.Second.Replica), x.SecondStamp.Time().UTC()},
		}}
	}
	return out
}
