#!/usr/bin/env node
// Starts the native program of this machine, from the package that holds it.
//
// What comes on standard input goes to the program itself, and what it says comes from it.  Signals
// are passed on, but for those that a terminal sends to the program as well; the end is the
// program's: its exit code, or death by the same signal.  When npx is gone, so is the program.
"use strict";
const { spawn } = require("child_process");
const fs = require("fs");
const os = require("os");
const path = require("path");
const tty = require("tty");

const name = path.basename(__filename, ".js");
const own = require("../package.json");
const windows = process.platform === "win32";
const platform = `${process.platform}-${process.arch}`;

function isMusl() {
  if (process.platform !== "linux" || !process.report) return false;
  return !process.report.getReport().header.glibcVersionRuntime;
}

function program() {
  if (process.env.DERPHOLE_BINARY) return process.env.DERPHOLE_BINARY;
  const wanted = `${own.scope}/cli-${platform}`;
  try {
    return require.resolve(`${wanted}/dist/${name}${windows ? ".exe" : ""}`);
  } catch {
    const kind = isMusl() ? `${platform} with musl` : platform;
    const known = Object.keys(own.optionalDependencies || {}).includes(wanted) && !isMusl();
    const way = known
      ? `npm left out the package ${wanted}: install again without --omit=optional`
      : "there is none: use `pipx install derphole`, or `pip install derphole`";
    console.error(`${name}: the program for ${kind} is missing; ${way}`);
    process.exit(1);
  }
}

// What Linux tells of a process, as text; elsewhere nothing.
function told(pid, what) {
  try {
    return fs.readFileSync(`/proc/${pid}/${what}`, "latin1");
  } catch {
    return "";
  }
}

const parentOf = (pid) => told(pid, "stat").split(") ").pop().split(" ")[1];

// Before there is a program, too: whoever sees it start may end npx at once.
const parent = process.ppid;
const hasShell = told(parent, "cmdline").split("\0")[1] === "-c";
const npx = parentOf(parent);

// Before there is a program, so that no signal ends us alone; handlers run after this script.
const isOnTerminal = [0, 1, 2].some((fd) => tty.isatty(fd));
for (const signal of ["SIGINT", "SIGQUIT"]) {
  process.on(signal, () => {
    if (!isOnTerminal) child.kill(signal);
  });
}
for (const signal of ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"]) {
  // Node keeps SIGUSR1 for its debugger in some versions; there it is not passed on.
  try {
    process.on(signal, () => child.kill(signal));
  } catch {}
}

// So that printed commands begin as this one did, and that the program ends when we are killed.
const channel = own.version.includes("-") ? "dev" : "latest";
const env = { DERPHOLE_NPM: `${name}@${channel}`, ...process.env, DERPHOLE_SHIM: process.pid };
const child = spawn(program(), process.argv.slice(2), { stdio: "inherit", argv0: name, env });

child.on("error", (error) => {
  console.error(`${name}: ${error.message}`);
  process.exit(error.code === "ENOENT" ? 127 : 126);
});

// npx that is ended by SIGTERM passes nothing on: its shell dies, and we get another parent.  After
// SIGKILL its shell lives, and gets another parent.
if (process.env.npm_command === "exec" && !windows) {
  const watch = setInterval(() => {
    if (process.ppid !== parent || (hasShell && parentOf(parent) !== npx)) {
      clearInterval(watch);
      child.kill("SIGTERM");
    }
  }, 250);
  watch.unref();
}

child.on("exit", (code, signal) => {
  if (!signal) process.exit(code);
  // Node ignores SIGPIPE; a signal whose last listener goes does what the system says.
  try {
    process.on(signal, () => {});
  } catch {} // SIGKILL has no listeners
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  setTimeout(() => process.exit(128 + (os.constants.signals[signal] || 0)), 1000);
});
