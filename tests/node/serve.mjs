// Real SDKs of flag systems, each serving many units: the twin of tests/integration/flag_systems/sdks.py.
//
//     node serve.mjs SDK EXPERIMENT UNITS SOURCE
//
// prints the variants of user-0, user-1, … as a JSON list in a list. SOURCE is a gateway's address, for flagd a file.
// Any connection that would leave this machine is refused and is an error.

import net from "node:net";

const LOOPBACK = new Set(["127.0.0.1", "::1", "localhost"]);
const AT_ONCE = 50;
const refused = new Set();

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...args) {
  const options = Array.isArray(args[0]) ? args[0][0] : args[0];
  if (options?.host !== undefined && !LOOPBACK.has(options.host)) {
    refused.add(options.host);
    throw new Error(`a connection to ${options.host}`);
  }
  return connect.apply(this, args);
};

async function growthbook(address, experiment) {
  const { GrowthBookClient } = await import("@growthbook/growthbook");
  const client = new GrowthBookClient({ apiHost: address, clientKey: "key" });
  const found = await client.init({ timeout: 10_000, streaming: false });
  if (!found.success) throw found.error ?? new Error(`GrowthBook has no features: ${found.source}`);
  return (unit) => client.getFeatureValue(experiment, null, { attributes: { id: unit } });
}

async function unleash(address, experiment) {
  const { InMemStorageProvider, Unleash } = await import("unleash-client");
  const client = new Unleash({
    url: `${address}/api/`,
    appName: "test",
    disableMetrics: true,
    storageProvider: new InMemStorageProvider(),
  });
  await new Promise((resolve, reject) => client.once("synchronized", resolve).once("error", reject));
  return (unit) => client.getVariant(experiment, { userId: unit }).name;
}

async function openFeature(provider, experiment) {
  const { OpenFeature } = await import("@openfeature/server-sdk");
  await OpenFeature.setProviderAndWait(provider);
  const client = OpenFeature.getClient();
  return (unit) => client.getStringValue(experiment, "none", { targetingKey: unit });
}

async function flagd(file, experiment) {
  const { FlagdProvider } = await import("@openfeature/flagd-provider");
  return openFeature(new FlagdProvider({ resolverType: "in-process", offlineFlagSourcePath: file }), experiment);
}

async function ofrep(address, experiment) {
  const { OFREPProvider } = await import("@openfeature/ofrep-provider");
  return openFeature(new OFREPProvider({ baseUrl: address }), experiment);
}

const [sdk, experiment, units, source] = process.argv.slice(2);
const answer = await { growthbook, unleash, flagd, ofrep }[sdk](source, experiment);
const variants = [];
while (variants.length < Number(units)) {
  const size = Math.min(AT_ONCE, Number(units) - variants.length);
  const asked = Array.from({ length: size }, (_, n) => answer(`user-${variants.length + n}`));
  variants.push(...(await Promise.all(asked)));
}
if (refused.size) process.stderr.write(`${sdk} wanted to reach ${[...refused]}\n`);
process.stdout.write(JSON.stringify([variants]), () => process.exit(refused.size ? 1 : 0));
