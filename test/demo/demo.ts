import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { versitygw } from "../servers/kinds/versitygw.ts";
import { startServer, type RunningServer } from "../servers/server.ts";
import { freePort } from "../support/listen.ts";
import { Pod, program, type PodOptions } from "../support/pod.ts";
import { watchForEnding, type Ending } from "../support/ending.ts";
import { removeFolder } from "./leftovers.ts";
import { findMissing } from "./requirements.ts";
import { Screen } from "./screen.ts";
import { showEnd, tell, type Scene } from "./story.ts";

/** Far more than the minute that it takes. */
const timeLimitMs = 180_000;

const help = `Usage: npm run demo [-- --keep]

Starts an S3 server with a bucket, makes the bucket a folder as in a pod of Fluid, and shows what then happens.
Nothing of it is left at the end.

  --keep  leave it running, to play with, until Ctrl-C
`;

async function main(): Promise<number> {
	let options;
	try {
		options = parseArgs({
			options: { keep: { type: "boolean", default: false }, help: { type: "boolean", default: false } },
		}).values;
	} catch (error) {
		process.stderr.write(`demo: ${(error as Error).message}\n\n${help}`);
		return 64;
	}
	if (options.help) {
		process.stdout.write(help);
		return 0;
	}
	const missing = findMissing();
	if (missing.length > 0) {
		process.stderr.write(`The demo cannot run here:\n${missing.map((line) => `  - ${line}\n`).join("")}`);
		return 1;
	}
	const ending = watchForEnding();
	try {
		await run(ending, options.keep);
		return 0;
	} catch (error) {
		const why = ending.signal.aborted ? ending.why : error instanceof Error ? error.message : String(error);
		process.stderr.write(`\nThe demo ended early and has cleaned up: ${why}\n`);
		return ending.exitCode;
	}
}

/** Whatever is opened here is closed here, in the reverse order, also when a step fails or Ctrl-C comes in the middle. */
async function run({ signal, limit }: Ending, keep: boolean): Promise<void> {
	const unlimit = limit(timeLimitMs);
	const startedAt = performance.now();
	const folder = mkdtempSync(join(tmpdir(), "fluid-fuse-demo-"));
	// So that the temporary files of all parts are in one folder that is easy to take away.
	process.env["TMPDIR"] = folder;
	try {
		// A real server that is quickly built.
		const server = await startServer(versitygw, { bucket: "training" });
		try {
			signal.throwIfAborted();
			const port = keep ? await freePort() : undefined;
			const pod = new Pod({
				...fluidFiles(server),
				env: port === undefined ? {} : { FLUID_FUSE_PROBE_ADDRESS: `127.0.0.1:${port}` },
			});
			try {
				const screen = new Screen({ $POD: pod.folder });
				console.log("A storage pod of Fluid on this machine. Its folder is called $POD below:");
				console.log(`POD=${pod.folder}`);
				const scene: Scene = { server, pod, screen, signal };
				await tell(scene);
				unlimit();
				if (port !== undefined) await keepRunning(scene, port);
				await showEnd(scene);
				if (!keep)
					console.log(
						`\nThat was all, in ${Math.round((performance.now() - startedAt) / 1000)} s. To play with it: npm run demo -- --keep`,
					);
			} finally {
				// Gently where it still runs, so that its drivers end with it; then by force.
				if (pod.launcher !== undefined) {
					pod.launcher.kill("SIGTERM");
					await pod.ended(10_000).catch(() => undefined);
				}
				await pod.cleanup();
			}
		} finally {
			await server.stop();
		}
	} finally {
		unlimit();
		await removeFolder(folder);
	}
}

async function keepRunning({ pod, screen, signal }: Scene, port: number): Promise<void> {
	const { pid } = await pod.mount();
	screen.heading("Yours until Ctrl-C");
	console.log(`
  the folder     ${pod.target}
  status page    http://127.0.0.1:${port}/
  status         FLUID_FUSE_RUN_DIR=${pod.runDirectory} ${relative(process.cwd(), program)} status
  kill a driver  kill -9 ${pid}

The launcher's log:`);
	let shown = pod.output.length;
	const timer = setInterval(() => {
		process.stdout.write(pod.output.slice(shown));
		shown = pod.output.length;
	}, 200);
	try {
		const launcherEnded = pod.launcher?.then(({ exitCode }) => {
			// Ctrl-C in a terminal reaches the launcher as well, and may reach it first.
			if (!signal.aborted) process.stdout.write(`The launcher has ended with exit code ${exitCode}.\n`);
		});
		await Promise.race([launcherEnded, signal.aborted ? undefined : once(signal, "abort")]);
	} finally {
		clearInterval(timer);
	}
}

/** What Fluid writes for a Dataset with this bucket; the fields and options in the order in which Go writes them. */
function fluidFiles({ bucket, endpoint, keys }: RunningServer): PodOptions {
	const options = {
		"access-key": "/etc/fluid/secrets/training-secret/access-key",
		endpoint,
		"secret-key": "/etc/fluid/secrets/training-secret/secret-key",
	};
	return {
		mounts: [{ mountPoint: `s3://${bucket}`, options, name: "training" }],
		secrets: { "training-secret": { "access-key": keys.accessKey, "secret-key": keys.secretKey } },
		accessModes: ["ReadWriteMany"],
	};
}

main().then(
	(exitCode) => process.exit(exitCode),
	(error: unknown) => {
		console.error(error);
		process.exit(70);
	},
);
