import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { readMountinfo } from "../../src/mounts/mountinfo.ts";
import type { Minio } from "../support/minio.ts";
import { until, type Pod } from "../support/pod.ts";
import type { Screen } from "./screen.ts";

export const bucket = "training";

export interface Scene {
	readonly minio: Minio;
	readonly pod: Pod;
	readonly screen: Screen;
	/** Aborted when the person has seen enough. */
	readonly signal: AbortSignal;
}

type Step = (scene: Scene) => Promise<void>;

/** The steps up to the end, in their order. */
export const steps: readonly Step[] = [
	showBucket,
	showFluidsFiles,
	showPlan,
	startLauncher,
	useFolder,
	writeFile,
	showProbes,
	killDriver,
];

async function showBucket({ minio, screen }: Scene): Promise<void> {
	screen.heading("A bucket");
	await minio.createBucket(bucket);
	await minio.put(bucket, "hello.txt", "Hello from the bucket.\n");
	await minio.put(bucket, "labels.csv", "image,label\ncat.jpg,cat\ndog.jpg,dog\n");
	await minio.put(bucket, "images/cat.jpg", new Uint8Array(120_000));
	await minio.put(bucket, "images/dog.jpg", new Uint8Array(90_000));
	screen.say(`A MinIO of the demo's own serves it at ${minio.endpoint}. Its objects:`);
	screen.output((await minio.list(bucket)).join("\n"));
}

async function showFluidsFiles(scene: Scene): Promise<void> {
	const { pod, screen } = scene;
	screen.heading("What Fluid puts into the storage pod");
	screen.say(
		"The config file (in a pod: /etc/fluid/config/config.json), through the link that Kubernetes moves at a change. Where it\n" +
			"cites a secret there is only a path; the secret is mounted beside it.",
	);
	await show(scene, "ls", ["-A", dirname(pod.configFile)]);
	await show(scene, "cat", [pod.configFile]);
	await show(scene, "ls", [join(pod.secretsDirectory, "minio-secret")]);
}

async function showPlan(scene: Scene): Promise<void> {
	scene.screen.heading("What the launcher will do with it");
	await showCommand(scene, "validate");
}

async function startLauncher(scene: Scene): Promise<void> {
	const { pod, screen } = scene;
	screen.heading("The bucket becomes a folder");
	screen.command("fluid-fuse &");
	const startedAt = performance.now();
	pod.start();
	await untilReady(scene);
	screen.good(`  mounted and ready after ${secondsSince(startedAt)} s`);
}

async function useFolder(scene: Scene): Promise<void> {
	const { pod, screen } = scene;
	screen.heading("Reading");
	await show(scene, "ls", ["-l", pod.target]);
	await show(scene, "cat", [join(pod.target, "hello.txt")]);
}

async function writeFile(scene: Scene): Promise<void> {
	const { pod, screen, minio, signal } = scene;
	screen.heading("Writing");
	const path = join(pod.target, "notes.txt");
	const text = "Written through the folder.";
	screen.command(`echo '${text}' > ${path}`);
	await execa("sh", ["-c", 'printf "%s\\n" "$1" > "$2"', "sh", text, path], { timeout: 20_000, cancelSignal: signal });
	screen.say("The same, asked of the server with an S3 client, not through the folder:");
	screen.command(`GET ${minio.endpoint}/${bucket}/notes.txt`);
	screen.output((await minio.get(bucket, "notes.txt")).toString());
}

async function showProbes(scene: Scene): Promise<void> {
	const { pod, screen } = scene;
	screen.heading("What Kubernetes asks");
	await showCommand(scene, "probe", "ready");
	screen.command("curl --unix-socket $POD/run/launcher.sock 'http://launcher/readyz?verbose'");
	screen.output((await pod.ask("/readyz?verbose")).body);
}

async function killDriver(scene: Scene): Promise<void> {
	const { pod, screen, signal } = scene;
	const path = join(pod.target, "hello.txt");
	const { driver, pid = 0 } = await pod.mount();
	screen.heading(`${driver} is killed`);
	const logged = pod.output.length;
	screen.command(`kill -9 ${pid}   # ${driver}`);
	const killedAt = performance.now();
	process.kill(pid, "SIGKILL");
	let complaint: string | undefined;
	for (;;) {
		const { exitCode, stderr } = await execa("cat", [path], { reject: false, timeout: 2000, cancelSignal: signal });
		signal.throwIfAborted();
		// A read that was under way when the driver died does not count.
		if (exitCode === 0 && (await pod.mount()).pid !== pid) break;
		if (exitCode !== 0) complaint ??= stderr;
		if (performance.now() - killedAt > 20_000) throw new Error(`the mount did not come back within 20 s: ${stderr}`);
		await sleep(20);
	}
	const seconds = secondsSince(killedAt);
	if (complaint !== undefined) {
		screen.say("For a moment every mount without a supervisor would stay like this until its pod is deleted:");
		screen.output(complaint);
	}
	await untilReady(scene);
	screen.good(`  a file could be read again ${seconds} s after the kill, in applications that had the folder mounted too`);
	screen.say("The log of that moment:");
	screen.output(pod.output.slice(logged));
	await showCommand(scene, "status");
}

/** The ordinary end: SIGTERM, as Kubernetes sends it. */
export async function showEnd({ pod, minio, screen }: Scene): Promise<void> {
	screen.heading("The end");
	screen.command("kill -TERM %1   # the launcher");
	const stoppedAt = performance.now();
	const exitCode = await pod.stop();
	screen.say(`exit code ${exitCode}, after ${secondsSince(stoppedAt)} s`);
	const mounted = await mountsBelow(pod.target);
	const private_ = await mountsBelow(join(pod.runDirectory, "mounts"));
	screen.say(`still mounted at the folder: ${mounted.length + private_.length}`);
	screen.say(`objects in the bucket: ${(await minio.list(bucket)).join(", ")}`);
	if (exitCode !== 0 || mounted.length + private_.length > 0) throw new Error("that was not a clean end");
}
