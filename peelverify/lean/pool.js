// Many Lean runs in one JavaScript process: the WebAssembly module is compiled once, and the code that the
// optimising compiler made for one run serves the next. Each run is a thread with an instance and a memory of
// its own, so no run sees what another did.
//
// One JSON object a line. In: {id, arguments, environment} starts a run, {cancel: id} ends one.
// Out: {id, status, lines, trouble}; status is null if the run did not reach its end. End of input ends all.
"use strict";
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
const path = require("path");

function serve(loader) {
  const bytes = require("fs").readFileSync(path.join(path.dirname(loader), "lean.wasm"));
  const compiled = new WebAssembly.Module(bytes);
  const runs = new Map();

  function start(request) {
    const answer = { id: request.id, status: null, lines: [], trouble: "" };
    const thread = new Worker(__filename, {
      argv: request.arguments,
      env: request.environment,
      workerData: { loader, compiled },
    });
    runs.set(request.id, thread);
    thread.on("message", (message) => {
      Object.assign(answer, message);
      thread.terminate();
    });
    thread.on("error", (error) => {
      answer.trouble = String((error && (error.stack || error.message)) || error);
    });
    thread.on("exit", () => {
      runs.delete(request.id);
      process.stdout.write(JSON.stringify(answer) + "\n");
    });
  }

  const input = require("readline").createInterface({ input: process.stdin });
  input.on("line", (line) => {
    const request = JSON.parse(line);
    if ("cancel" in request) runs.get(request.cancel)?.terminate();
    else start(request);
  });
  input.on("close", () => process.exit(0));
}

function run({ loader, compiled }) {
  const lines = [];
  const keep = (line) => lines.push(String(line));
  globalThis.peelverifyModule = {
    instantiateWasm: (imports, done) => done(new WebAssembly.Instance(compiled, imports), compiled),
    onExit: (status) => parentPort.postMessage({ status, lines }),
    onAbort: (what) => parentPort.postMessage({ lines, trouble: String(what) }),
    print: keep,
    printErr: keep,
  };
  require(loader);
}

if (isMainThread) serve(process.argv[2]);
else run(workerData);
