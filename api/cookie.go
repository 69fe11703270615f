package api

import (
	"net/http"
	"strings"

	"github.com/meridiandb/meridian/crdt"
)

// A browser's page can keep the token by itself, and the requests that follow
// links cannot carry a header: for them the token can be a cookie. It is set
// for whoever asks once by "Prefer: token-cookie", and from then on with each
// answer to a request that brings it.

const (
	// CookieToken is the name of the cookie.
	CookieToken = "meridian-token"
	// preferCookie asks for it.
	preferCookie = "token-cookie"
	// MaxCookieToken is the longest token that is set as a cookie: browsers keep
	// 4,096 bytes with the attributes. A longer one comes as a header only.
	MaxCookieToken = 3900
	// cookieAge is for how long a browser keeps it, in seconds.
	cookieAge = 24 * 60 * 60
)

// cookieUse is what a request says of the cookie.
type cookieUse struct {
	wanted, secure bool
	token          string
}

func cookieOf(r *http.Request) (c cookieUse) {
	if _, ok := r.Header["Cookie"]; ok {
		if got, err := r.Cookie(CookieToken); err == nil {
			c.token, c.wanted = got.Value, true
		}
	}
	if !c.wanted {
		for name := range preferences(r.Header) {
			c.wanted = c.wanted || strings.EqualFold(name, preferCookie)
		}
	}
	c.secure = r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
	return c
}

// setCookie adds the token to the answer as a cookie. Scripts have no use for
// it, and other sites' requests must not make this one wait.
func (x *exchange) setCookie(token string) {
	if len(token) > MaxCookieToken {
		return
	}
	c := http.Cookie{
		Name: CookieToken, Value: token, Path: "/", MaxAge: cookieAge,
		HttpOnly: true, Secure: x.cookie.secure, SameSite: http.SameSiteLaxMode,
	}
	x.Header().Add("Set-Cookie", c.String())
}

// token is the vector that the request names: by the header, or else by the
// cookie. A cookie that is not understood, of another version perhaps, counts
// for nothing and is replaced: its user could do nothing about an error.
func (x *exchange) token(r *http.Request) (crdt.Vector, error) {
	if text := r.Header.Get(HeaderToken); text != "" {
		v, err := decodeToken(text)
		if err == nil {
			err = x.s.region.Lost(v)
		}
		return v, err
	}
	if x.cookie.token == "" {
		return crdt.Vector{}, nil
	}
	v, err := decodeToken(x.cookie.token)
	if err != nil || x.s.region.Lost(v) != nil {
		return crdt.Vector{}, nil //nolint:nilerr // see above
	}
	return v, nil
}
