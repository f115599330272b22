import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import type { RunningServer } from "../servers/server.ts";
import type { Pod } from "../support/pod.ts";
import { mountsBelow, unmountBelow } from "./leftovers.ts";
import type { Screen } from "./screen.ts";

export interface Scene {
	readonly server: RunningServer;
	readonly pod: Pod;
	readonly screen: Screen;
	/** Aborted when the demo has to end. */
	readonly signal: AbortSignal;
}

/** Everything from the bucket to the recovery; the launcher runs on. */
export async function tell(scene: Scene): Promise<void> {
	const steps = [showBucket, showFluidsFiles, showPlan, startLauncher, read, write, showProbes, killDriver];
	for (const step of steps) {
		scene.signal.throwIfAborted();
		await step(scene);
	}
	scene.signal.throwIfAborted();
}

async function showBucket({ server, screen }: Scene): Promise<void> {
	screen.heading("A bucket");
	await server.put("hello.txt", "Hello from the bucket.\n");
	await server.put("labels.csv", "cat.jpg,cat\ndog.jpg,dog\n");
	await server.put("images/cat.jpg", new Uint8Array(120_000));
	await server.put("images/dog.jpg", new Uint8Array(90_000));
	screen.say(
		`"${server.bucket}" at ${server.endpoint}, a ${server.kind.title} that was started for this. Its objects:`,
	);
	screen.output((await server.list("")).join("\n"));
}

async function showFluidsFiles(scene: Scene): Promise<void> {
	const { pod, screen } = scene;
	screen.heading("What Fluid puts into the storage pod");
	screen.say("The config, with paths where secrets belong, and the secret. Kubernetes changes both by moving a link.");
	await show(scene, "ls", ["-A", dirname(pod.configFile)]);
	await show(scene, "cat", [pod.configFile]);
	await show(scene, "ls", [join(pod.secretsDirectory, "training-secret")]);
}

async function showPlan(scene: Scene): Promise<void> {
	scene.screen.heading("The plan");
	await showCommand(scene, "validate");
}

async function startLauncher(scene: Scene): Promise<void> {
	const { pod, screen } = scene;
	screen.heading("The bucket becomes a folder");
	screen.command("fluid-fuse &");
	const startedAt = performance.now();
	pod.start();
	await untilReady(scene);
	screen.good(`mounted and ready after ${secondsSince(startedAt)} s`);
}

async function read(scene: Scene): Promise<void> {
	const { pod, screen } = scene;
	screen.heading("Reading");
	await show(scene, "ls", ["-l", pod.target]);
	await show(scene, "cat", [join(pod.target, "hello.txt")]);
}

async function write({ pod, screen, server, signal }: Scene): Promise<void> {
	screen.heading("Writing");
	const path = join(pod.target, "notes.txt");
	screen.command(`echo 'Written through the folder.' > ${path}`);
	const script = 'echo "Written through the folder." > "$1"';
	await execa("sh", ["-c", script, "sh", path], { timeout: 20_000, cancelSignal: signal });
	screen.say("The server has it: asked with an S3 client, not through the folder.");
	screen.command(`GET ${server.endpoint}/${server.bucket}/notes.txt`);
	screen.output((await server.get("notes.txt")).toString());
}

async function showProbes(scene: Scene): Promise<void> {
	const { pod, screen } = scene;
	screen.heading("What Kubernetes asks");
	await showCommand(scene, "probe", "ready");
	screen.command(`curl --unix-socket ${pod.runDirectory}/launcher.sock 'http://launcher/readyz?verbose'`);
	screen.output((await pod.ask("/readyz?verbose")).body);
}

async function killDriver(scene: Scene): Promise<void> {
	const { pod, screen } = scene;
	const { driver, pid = 0 } = await pod.mount();
	screen.heading(`${driver} is killed`);
	const application = await mountInApplication(pod);
	const path = join(application, "hello.txt");
	screen.say("Meanwhile an application has the folder mounted, as its pod would (mountPropagation: HostToContainer).");
	await show(scene, "cat", [path]);
	const logged = pod.output.length;
	screen.command(`kill -9 ${pid}`);
	const killedAt = performance.now();
	process.kill(pid, "SIGKILL");
	const complaint = await untilReadable(path, scene);
	const seconds = secondsSince(killedAt);
	if (complaint !== undefined) {
		screen.command(`cat ${path}`);
		screen.output(complaint);
	}
	await show(scene, "cat", [path]);
	screen.good(`the application could read again ${seconds} s after the kill, without a restart`);
	await untilReady(scene);
	screen.say("\nThe log of that moment:");
	screen.output(pod.output.slice(logged));
	await showCommand(scene, "status");
	await unmountBelow(application, { force: false });
}

/** The ordinary end: SIGTERM, as Kubernetes sends it. */
export async function showEnd({ pod, server, screen, signal }: Scene): Promise<void> {
	screen.heading("The end");
	// Ctrl-C in a terminal has told the launcher, too, and has ended the server.
	if (!signal.aborted) screen.command("kill -TERM %1");
	const stoppedAt = performance.now();
	const exitCode = await pod.stop();
	const seconds = secondsSince(stoppedAt);
	const mounted = [...(await mountsBelow(pod.target)), ...(await mountsBelow(join(pod.runDirectory, "mounts")))];
	screen.say(`exit code ${exitCode} after ${seconds} s, mounts left: ${mounted.length}`);
	if (exitCode !== 0 || mounted.length > 0) throw new Error(`that was no clean end:\n${pod.output}`);
	if (!signal.aborted) screen.say(`objects in the bucket: ${(await server.list("")).join(", ")}`);
}

/** What the pod of an application has: a bind of the folder that gets what is mounted there later. */
async function mountInApplication(pod: Pod): Promise<string> {
	const application = join(pod.folder, "application");
	mkdirSync(application);
	await execa("mount", ["--bind", pod.target, application], { timeout: 5000 });
	await execa("mount", ["--make-slave", application], { timeout: 5000 });
	return application;
}

/** Reads again and again; returns what `cat` said while that failed. */
async function untilReadable(path: string, { pod, signal }: Scene): Promise<string | undefined> {
	const { restarts } = await pod.mount();
	const deadline = performance.now() + 20_000;
	let complaint: string | undefined;
	for (;;) {
		const { exitCode, stderr } = await execa("cat", [path], { reject: false, timeout: 2000, cancelSignal: signal });
		signal.throwIfAborted();
		if (exitCode !== 0) complaint = stderr;
		// The first of the reads may still have met the driver that was about to die.
		else if (complaint !== undefined || (await pod.mount()).restarts > restarts) return complaint;
		if (performance.now() > deadline)
			throw new Error(`the mount did not come back within 20 s: ${stderr}\n${pod.output}`);
		await sleep(20);
	}
}

async function untilReady({ pod, signal }: Scene): Promise<void> {
	let ended = false;
	void pod.launcher?.then(() => {
		ended = true;
	});
	const deadline = performance.now() + 20_000;
	while ((await pod.ask("/readyz")).statusCode !== 200) {
		signal.throwIfAborted();
		if (ended) throw new Error(`the launcher has ended:\n${pod.output}`);
		if (performance.now() > deadline) throw new Error(`not ready within 20 s:\n${pod.output}`);
		await sleep(25);
	}
}

/** Runs a program of the system and shows what it prints. */
async function show({ screen, signal }: Scene, file: string, args: readonly string[]): Promise<void> {
	screen.command([file, ...args].join(" "));
	const { all } = await execa(file, args, {
		all: true,
		timeout: 20_000,
		cancelSignal: signal,
		env: { LC_ALL: "C.UTF-8" },
	});
	screen.output(all);
}

/** Runs a command of the launcher in its pod, as an exec probe or `kubectl exec` would. */
async function showCommand({ pod, screen }: Scene, ...args: readonly string[]): Promise<void> {
	screen.command(["fluid-fuse", ...args].join(" "));
	const { exitCode, stdout, stderr } = await pod.command(...args);
	screen.output(`${stdout}\n${stderr}`);
	if (exitCode !== 0) throw new Error(`fluid-fuse ${args.join(" ")} ended with exit code ${exitCode}:\n${stderr}`);
}

function secondsSince(startedAt: number): string {
	return ((performance.now() - startedAt) / 1000).toFixed(1);
}
