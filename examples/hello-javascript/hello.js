// Answers every request with a greeting.
addEventListener("fetch", (event) => event.respondWith(hello(event.request)));

async function hello(request) {
  console.log(`hello-javascript: ${request.method} ${new URL(request.url).pathname}`);
  return new Response("Hello from JavaScript!\n", {
    headers: { "content-type": "text/plain" },
  });
}
