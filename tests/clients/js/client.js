/*
 * eureka-js-client, unchanged: registers, renews and follows, and tells what it sees.
 * Arguments: base URLs (with commas), app, instance id, port. Prints {"view": {id: status}} whenever
 * its own cache changes; "leave" on standard input makes it leave and end.
 */
import { createInterface } from "node:readline";
import { Eureka } from "eureka-js-client";

const [urls, app, instanceId, port] = process.argv.slice(2);
const silent = { debug() {}, info() {}, warn() {}, error: console.error, level() {} };

const client = new Eureka({
  logger: silent,
  shouldUseDelta: true,
  eureka: {
    serviceUrls: { default: urls.split(",").map((url) => `${url}/eureka/v2/apps/`) },
    heartbeatInterval: 300,
    registryFetchInterval: 300,
    requestRetryDelay: 50,
    filterUpInstances: false,
  },
  instance: {
    app,
    instanceId,
    hostName: "127.0.0.1",
    ipAddr: "127.0.0.1",
    vipAddress: app.toLowerCase(),
    port: { $: Number(port), "@enabled": true },
    dataCenterInfo: { "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", name: "MyOwn" },
    leaseInfo: { renewalIntervalInSecs: 1, durationInSecs: 10 },
    metadata: { language: "node" },
  },
});

let told = "";

function tell() {
  const view = {};
  for (const instance of Object.values(client.cache.vip).flat()) view[instance.instanceId] = instance.status;
  const line = JSON.stringify({ view });
  if (line !== told) console.log(line);
  told = line;
}

client.start((error) => {
  if (error) throw error;
  setInterval(tell, 50);
});

createInterface({ input: process.stdin }).on("line", (line) => {
  if (line === "leave") {
    client.stop((error) => {
      if (error) throw error;
      process.exit(0);
    });
  }
});
