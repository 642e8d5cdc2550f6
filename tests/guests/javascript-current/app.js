// What apps do, as the path says, with today's JavaScript tools.
import { Store } from "fermyon:spin/key-value@2.0.0";
import { Connection } from "fermyon:spin/sqlite@2.0.0";
import { get as variable } from "fermyon:spin/variables@2.0.0";
import { Router } from "itty-router";

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const router = Router();

const pause = (time) => new Promise((done) => setTimeout(done, time));

router
  .all("/echo", (request) =>
    new Response(request.body, { headers: { "x-method": request.method } }))
  .get("/headers", (request) => {
    const lines = [];
    request.headers.forEach((value, name) => lines.push(`${name}: ${value}`));
    return new Response(lines.join("\n"));
  })
  .get("/hello/:name", ({ params }) => new Response(`hello ${params.name}`))
  .get("/cookies", () => {
    const response = new Response("two");
    response.headers.append("set-cookie", "a=1");
    response.headers.append("set-cookie", "b=2");
    return response;
  })
  .get("/stream", () => {
    const { readable, writable } = new TransformStream();
    const writer = writable.getWriter();
    (async () => {
      for (const part of ["one ", "two ", "three"]) {
        await writer.write(encoder.encode(part));
        await pause(50);
      }
      await writer.close();
    })();
    return new Response(readable);
  })
  .get("/variable/:name", ({ params }) => new Response(variable(params.name)))
  .post("/kv/:key", async (request) => {
    const store = Store.open("default");
    store.set(request.params.key, new Uint8Array(await request.arrayBuffer()));
    return new Response(store.getKeys().sort().join(), { status: 201 });
  })
  .get("/kv/:key", ({ params }) => {
    const value = Store.open("default").get(params.key);
    return new Response(value ? decoder.decode(value) : "none");
  })
  .get("/store/:label", ({ params }) => {
    Store.open(params.label);
    return new Response("open");
  })
  .post("/sql", async (request) => {
    const { columns, rows } = Connection.open("default").execute(await request.text(), []);
    const shown = rows.map(({ values }) => values.map(({ val }) =>
      typeof val === "bigint" ? Number(val) : val));
    return new Response(JSON.stringify({ columns, rows: shown }));
  })
  .get("/fetch", ({ query }) => fetch(query.url))
  .post("/forward", (request) =>
    fetch(request.query.url, { method: "POST", body: request.body }))
  .get("/log", () => {
    console.log("words on standard output");
    console.error("words on standard error");
    return new Response("logged");
  })
  .get("/throw", () => {
    throw new Error("thrown on request");
  })
  .all("*", () => new Response(null, { status: 404 }));

async function answer(request) {
  try {
    return await router.fetch(request);
  } catch (error) {
    // What the host says has a payload; anything else is the app's own mistake.
    if (error.payload === undefined) throw error;
    return new Response(JSON.stringify(error.payload), { status: 500 });
  }
}

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));
