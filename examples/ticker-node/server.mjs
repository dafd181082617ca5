// A service in plain Node: tells the time, once or as a stream of server-sent events, and leaves politely.
import { createServer } from 'node:http';

const { HOST, PORT, REDQUEEN_NODE = '', REDQUEEN_ZONE = '', REDQUEEN_VERSION = '', TICK_MS = '1000' } = process.env;
const now = () => JSON.stringify({ time: new Date().toISOString(), node: REDQUEEN_NODE, zone: REDQUEEN_ZONE, version: REDQUEEN_VERSION });
const streams = new Set();

const server = createServer((request, response) => {
  const path = new URL(request.url, 'http://here').pathname;
  if (path === '/health') {
    response.writeHead(200, { 'content-type': 'text/plain' }).end('well\n');
  } else if (path.endsWith('/stream')) {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
    response.write(`data: ${now()}\n\n`);
    streams.add(response);
    response.on('close', () => streams.delete(response));
  } else {
    response.writeHead(200, { 'content-type': 'application/json' }).end(now());
  }
});

const ticks = setInterval(() => streams.forEach((response) => response.write(`data: ${now()}\n\n`)), Number(TICK_MS));

// The gateway has let go of this instance by now: streams end, requests that are under way finish.
process.on('SIGTERM', () => {
  clearInterval(ticks);
  streams.forEach((response) => response.end());
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});

// A connection that idles must not be closed here just as the gateway sends its next request.
server.keepAliveTimeout = 600_000;
server.listen(Number(PORT), HOST, () => console.log(`${REDQUEEN_NODE} ticks on port ${PORT}`));
