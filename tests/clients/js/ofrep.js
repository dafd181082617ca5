/*
 * OpenFeature's own OFREP providers, unchanged. Arguments: kind (web or server), base URL, token.
 * "web": evaluates in bulk for the viewer-like context, follows the event stream, and prints
 * {"event": …, "flags": {key: details}} at its start and at each change; "context KEY" changes the context.
 * "server": answers each line "TYPE FLAG TARGETING_KEY DEFAULT" on standard input with {"details": …}.
 */
import { createInterface } from "node:readline";

const [kind, baseUrl, token] = process.argv.slice(2);
const say = (told) => console.log(JSON.stringify(told));
const headers = [["Authorization", `Bearer ${token}`]];

async function web() {
  const { OpenFeature, ProviderEvents } = await import("@openfeature/web-sdk");
  const { OFREPWebProvider } = await import("@openfeature/ofrep-web-provider");
  const requests = [];
  const fetchImplementation = async (request, options) => {
    const answer = await fetch(request, options);
    requests.push([answer.status, new URL(request.url).searchParams.get("flagConfigEtag") ?? ""]);
    return answer;
  };
  const provider = new OFREPWebProvider({ baseUrl, headers, cacheMode: "disabled", fetchImplementation });
  const client = OpenFeature.getClient();
  const tell = (event) => () => say({
    event,
    requests,
    flags: {
      greeting: client.getStringDetails("greeting", "none"),
      shiny: client.getBooleanDetails("shiny", false),
      ratio: client.getNumberDetails("ratio", -1),
      layout: client.getObjectDetails("layout", {}),
      absent: client.getStringDetails("absent", "mine"),
    },
  });
  client.addHandler(ProviderEvents.Error, (details) => say({ event: "error", details }));
  await OpenFeature.setContext({ targetingKey: "someone", device: "tv" });
  await OpenFeature.setProviderAndWait(provider);
  tell("ready")();
  client.addHandler(ProviderEvents.ConfigurationChanged, tell("changed"));
  client.addHandler(ProviderEvents.ContextChanged, tell("context"));
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "leave") break;
    await OpenFeature.setContext({ targetingKey: line, device: "mobile" });
  }
  await OpenFeature.close();
}

async function server() {
  const { OpenFeature } = await import("@openfeature/server-sdk");
  const { OFREPProvider } = await import("@openfeature/ofrep-provider");
  await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl, headers }));
  const client = OpenFeature.getClient();
  const ask = { boolean: "getBooleanDetails", string: "getStringDetails", number: "getNumberDetails", object: "getObjectDetails" };
  say({ event: "ready" });
  for await (const line of createInterface({ input: process.stdin })) {
    const [type, flag, targetingKey, ...rest] = line.split(" ");
    say({ details: await client[ask[type]](flag, JSON.parse(rest.join(" ")), { targetingKey, device: "tv" }) });
  }
}

await (kind === "web" ? web() : server());
process.exit(0);
