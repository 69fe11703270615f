package demo

import (
	"net/url"

	"github.com/meridiandb/meridian/api/client"
)

func collectionPath(name string) string { return "/v1/collections/" + url.PathEscape(name) }

func docPath(collection, id string) string {
	return collectionPath(collection) + "/docs/" + url.PathEscape(id)
}

func note(id string) string    { return docPath("notes", id) }
func order(id string) string   { return docPath("orders", id) }
func account(id string) string { return docPath("accounts", id) }

// The documents that the acts write besides those of edits.
var (
	pathHello  = note("hello")
	pathDetour = note("detour")
	pathTry    = note("mine")
	pathAna    = account("ana")
	pathBen    = account("ben")
)

// collections are made before the first act.
var collections = []struct{ name, settings string }{
	{"notes", `{}`},
	{"orders", `{}`},
	{"accounts", `{}`},
	{"carts", `{"type":"document","policy":"merge"}`},
	{"prices", `{"type":"register","policy":"lww"}`},
	{"taxes", `{"type":"register","policy":{"region-priority":["` + names[there] + `","` + names[here] + `"]}}`},
	{"menus", `{"type":"register","policy":"siblings"}`},
	{collectionBaskets, `{"type":"register","policy":"lww"}`},
}

// accounts are what Ana and Ben have, before the last act.
var accounts = map[string]string{
	pathAna: `{"eur":100}`,
	pathBen: `{"eur":0}`,
}

// balance is what they have together.
const balance = 100

// An edit is a document, and what the two sides of the cut do to it at once.
type edit struct {
	path, policy        string
	before              string // as it is written
	here, there         request
	hereDoes, thereDoes string // in words
}

func merge(path, body string) request { return patch(path, client.MergePatch, body) }
func ops(path, body string) request   { return patch(path, client.Operations, body) }

// increments is how often each region counts.
const increments = 10

var (
	pathCart  = docPath("carts", "ana")
	pathList  = docPath("carts", "list")
	pathOrder = docPath("carts", "order")
	pathLikes = docPath("carts", "likes")
	pathGone  = docPath("carts", "ben")
	pathPrice = docPath("prices", "tea")
	pathTax   = docPath("taxes", "tea")
	pathMenu  = docPath("menus", "today")
	pathPhone = docPath("carts", "phone")

	pathBasket = docPath(collectionBaskets, "ana")
)

// What both sides make of the basket, and what the application does.
const (
	basketHere   = `{"items":["tea","bread"]}`
	basketThere  = `{"items":["tea","rice"]}`
	basketAnswer = `{"items":["tea","bread","rice","a bag"]}`
)

const addLike = `[{"op":"inc","path":"/likes","value":1}]`

// edits are made in act 3, and act 5 shows what became of each.
var edits = []edit{
	{
		path: pathCart, policy: "merge", before: `{"name":"Ana"}`,
		here:  put(pathCart, `{"name":"Ana","gift":true,"ship":{"day":"Mon"}}`),
		there: put(pathCart, `{"name":"Ana","vip":true,"ship":{"door":2}}`), hereDoes: "sets gift, ship.day", thereDoes: "sets vip, ship.door",
	},
	{
		path: pathList, policy: "merge", before: `{"items":["tea","soap"]}`,
		here:  put(pathList, `{"items":["tea","bread","butter","soap"]}`),
		there: put(pathList, `{"items":["tea","rice","beans","soap"]}`), hereDoes: "bread, butter after tea", thereDoes: "rice, beans after tea",
	},
	{
		path: pathOrder, policy: "merge", before: `{"items":["tea","milk","soap"]}`,
		here:  ops(pathOrder, `[{"op":"move","from":"/items/2","path":"/items/0"}]`),
		there: ops(pathOrder, `[{"op":"move","from":"/items/2","path":"/items/1"}]`), hereDoes: "moves soap to the front", thereDoes: "moves soap up by one",
	},
	{
		path: pathLikes, policy: "merge", before: `{"likes":{"$counter":0}}`,
		here: ops(pathLikes, addLike), there: ops(pathLikes, addLike), hereDoes: "adds 1, ten times", thereDoes: "adds 1, ten times",
	},
	{
		path: pathGone, policy: "merge", before: `{"items":["milk","eggs"],"name":"Ben"}`,
		here: del(pathGone), there: merge(pathGone, `{"gift":true}`), hereDoes: "deletes the cart", thereDoes: "sets gift",
	},
	{
		path: pathPrice, policy: "lww", before: `{"eur":3}`,
		here: put(pathPrice, `{"eur":4}`), there: put(pathPrice, `{"eur":5}`), hereDoes: "sets 4", thereDoes: "sets 5",
	},
	{
		path: pathTax, policy: "region-priority", before: `{"percent":7}`,
		here: put(pathTax, `{"percent":20}`), there: put(pathTax, `{"percent":19}`), hereDoes: "sets 20", thereDoes: "sets 19",
	},
	{
		path: pathMenu, policy: "siblings", before: `{"soup":"pea"}`,
		here: put(pathMenu, `{"soup":"leek"}`), there: put(pathMenu, `{"soup":"onion"}`), hereDoes: "sets leek", thereDoes: "sets onion",
	},
	{
		path: pathBasket, policy: "each in turn", before: `{"items":["tea"]}`,
		here: put(pathBasket, basketHere), there: put(pathBasket, basketThere), hereDoes: "adds bread", thereDoes: "adds rice",
	},
}

// ownDocuments are all that a walk writes, but for what readers try by hand.
func ownDocuments() []string {
	paths := []string{pathHello, pathDetour, pathAna, pathBen, pathPhone}
	for _, id := range append(append([]string(nil), ordersHere...), ordersThere...) {
		paths = append(paths, order(id))
	}
	for _, e := range edits {
		paths = append(paths, e.path)
	}
	return paths
}
