// A webhook for the policy "callback": it decides about carts that were changed in
// several regions at once. Run it with
//
//   SECRET=… ADDR=127.0.0.1:9000 node app.mjs
//
// and set {"callback": {"url": "http://127.0.0.1:9000/conflicts", "secret": "…"}}
// as the policy of a collection of type register.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const secret = process.env.SECRET;
if (!secret) throw new Error("set SECRET to what the policy has");

// Decides: everything that was put into a cart on any side is in it. The same
// answer to the same question, however often it is asked.
function answer(question) {
  const carts = question.versions.filter((v) => !v.deleted).map((v) => v.value); // the oldest first
  if (carts.some((c) => c.locked)) return { keep: true, reason: "the cart is being paid" };
  const items = [...new Set(carts.flatMap((c) => c.items ?? []))];
  if (items.length === 0) return { delete: true, reason: "nothing is in it" };
  const owner = carts.at(-1).owner;
  return { value: { owner, items }, reason: `${question.versions.length} carts in one` };
}

// Whether a region that knows the secret sent this body, not long ago.
function signed(header, body) {
  const match = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(header ?? "");
  if (!match) return false;
  const want = createHmac("sha256", secret).update(`${match[1]}.`).update(body).digest();
  return timingSafeEqual(want, Buffer.from(match[2], "hex")) && Math.abs(Date.now() / 1000 - match[1]) < 300;
}

const server = createServer(async (request, response) => {
  const reply = (status, body) => {
    response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
  };
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  if (!signed(request.headers["meridian-signature"], body)) return reply(401, { error: "bad signature" });
  try {
    const question = JSON.parse(body);
    if (question.version !== 1) return reply(422, { error: "this webhook reads questions of version 1" });
    reply(200, answer(question));
  } catch (error) {
    reply(422, { error: String(error) }); // anything but 200 means: ask again later
  }
});

const [host, port] = (process.env.ADDR ?? "127.0.0.1:9000").split(":");
server.listen(Number(port), host, () => console.log(`listening on ${host}:${server.address().port}`));
