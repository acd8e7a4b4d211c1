// graphile-worker on Node.js, with the tuned preset of its own performance test (perfTest/graphile.config.js): local
// queue, batched completions; two processes drain. Completed rows are deleted.
//
// The command line and the output are those of the adapters in Rust (../rust/common/src/lib.rs).

import { fork } from "node:child_process";
import { Logger, makeWorkerUtils, run, runOnce } from "graphile-worker";

const PROCESSES = 2;
const JOBS_AT_ONCE = 24;
const PAUSE_MS = 4;

const preset = {
  worker: {
    concurrentJobs: JOBS_AT_ONCE,
    maxPoolSize: JOBS_AT_ONCE + 1,
    localQueue: { size: 500, refetchDelay: { durationMs: 10 } },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  },
};
const connectionString = process.env.DATABASE_URL;
// It would print a line for every job.
const logger = new Logger(() => () => {});
const data = "x".repeat(80);

const job = (id) => ({ identifier: "noop", payload: { id, data } });
// One clock for all processes.
const now = () => performance.timeOrigin + performance.now();
const print = (figures) => console.log(JSON.stringify(figures));

async function setup() {
  const utils = await makeWorkerUtils({ connectionString, logger });
  await utils.migrate();
  await utils.release();
}

async function enqueue(jobs, batch) {
  const utils = await makeWorkerUtils({ connectionString, logger });
  const began = now();
  for (let first = 0; first < jobs; first += batch) {
    const ids = Array.from({ length: Math.min(batch, jobs - first) }, (_, index) => first + index);
    if (batch === 1) {
      const { identifier, payload } = job(first);
      await utils.addJob(identifier, payload);
    } else {
      await utils.addJobs(ids.map(job));
    }
  }
  print({ seconds: (now() - began) / 1e3 });
  await utils.release();
}

// From the first handler call in any of the processes to the end of the last: `runOnce` resolves when all completions
// are stored.
async function drain(jobs) {
  const parts = await Promise.all(
    Array.from({ length: PROCESSES }, () => {
      const child = fork(import.meta.filename, ["part"]);
      return new Promise((resolve, reject) => {
        child.once("message", resolve);
        child.once("exit", (code) => reject(new Error(`a process ended with ${code} and no figures`)));
      });
    }),
  );
  const calls = parts.reduce((sum, part) => sum + part.calls, 0);
  if (calls !== jobs) throw new Error(`${calls} of ${jobs} jobs were run`);
  const worked = parts.filter((part) => part.calls > 0);
  const first = Math.min(...worked.map((part) => part.first));
  const seconds = (moment) => (Math.max(...worked.map((part) => part[moment])) - first) / 1e3;
  print({ handled: seconds("last"), stored: seconds("end") });
}

async function part() {
  let calls = 0;
  let first;
  let last;
  const noop = () => {
    last = now();
    first ??= last;
    calls += 1;
  };
  await runOnce({ preset, connectionString, logger, taskList: { noop } });
  process.send({ calls, first, last, end: now() });
  process.disconnect();
}

async function latency(jobs) {
  let called;
  const noop = () => called(now());
  const runner = await run({ preset, connectionString, logger, noHandleSignals: true, taskList: { noop } });
  const utils = await makeWorkerUtils({ connectionString, logger });
  const warmUp = Math.floor(jobs / 10);
  const taken = [];
  for (let id = 0; id < jobs + warmUp; id += 1) {
    const call = new Promise((resolve) => (called = resolve));
    const { identifier, payload } = job(id);
    const began = now();
    await utils.addJob(identifier, payload);
    const ms = (await call) - began;
    if (id >= warmUp) taken.push(ms);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  taken.sort((a, b) => a - b);
  const percentile = (percent) => taken[Math.floor(((taken.length - 1) * percent) / 100)];
  print({ p50: percentile(50), p99: percentile(99), max: percentile(100) });
  await runner.stop();
  await utils.release();
}

const [what, ...numbers] = process.argv.slice(2);
await { setup, enqueue, drain, latency, part }[what](...numbers.map(Number));
