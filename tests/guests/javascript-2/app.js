// What apps do, as the path says, over the JavaScript SDK of Spin 2.
import { Kv, Llm, ResponseBuilder, Router, Sqlite, Variables } from "@fermyon/spin-sdk";

const decoder = new TextDecoder();
const router = Router();

router.all("/echo", async (_, request, response) => {
  response.set("x-method", request.method);
  response.send(await request.arrayBuffer());
});
router.get("/headers", (_, request, response) => {
  const lines = [];
  request.headers.forEach((value, name) => lines.push(`${name}: ${value}`));
  response.send(lines.join("\n"));
});
router.get("/hello/:name", ({ params }, _, response) => response.send(`hello ${params.name}`));
router.get("/stream", (_, request, response) => {
  response.set("x-streamed", "yes");
  for (const part of ["one ", "two ", "three"]) response.write(part);
  response.end();
});
router.get("/variable/:name", ({ params }, _, response) =>
  response.send(Variables.get(params.name) ?? "none"));
router.post("/kv/:key", async ({ params }, request, response) => {
  const store = Kv.openDefault();
  store.set(params.key, await request.text());
  response.status(201);
  response.send(store.getKeys().sort().join());
});
router.get("/kv/:key", ({ params }, _, response) => {
  const value = Kv.openDefault().get(params.key);
  response.send(value ? decoder.decode(value) : "none");
});
router.get("/store/:label", ({ params }, _, response) => {
  Kv.open(params.label);
  response.send("open");
});
router.post("/sql", async (_, request, response) => {
  const { columns, rows } = Sqlite.openDefault().execute(await request.text(), []);
  response.send(JSON.stringify({ columns, rows }, (_, value) =>
    typeof value === "bigint" ? Number(value) : value));
});
router.get("/fetch", async ({ query }, _, response) => {
  const fetched = await fetch(query.url);
  response.status(fetched.status);
  response.send(await fetched.text());
});
router.get("/infer", (_, request, response) => response.send(Llm.infer("unknown", "Hello?").text));
router.get("/log", (_, request, response) => {
  console.log("words on standard output");
  console.error("words on standard error");
  response.send("logged");
});
router.get("/throw", () => {
  throw new Error("thrown on request");
});
router.all("*", (_, request, response) => {
  response.status(404);
  response.send();
});

async function answer(request, response) {
  try {
    await router.handleRequest(request, response);
  } catch (error) {
    // What the host says has a payload; anything else is the app's own mistake.
    if (error.payload === undefined) throw error;
    response.status(500);
    response.send(JSON.stringify(error.payload));
  }
}

addEventListener("fetch", (event) => {
  const answered = new Promise((resolve, reject) => {
    answer(event.request, new ResponseBuilder(resolve)).catch(reject);
  });
  event.respondWith(answered);
});
