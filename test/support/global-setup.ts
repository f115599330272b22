import { execFileSync, type ExecFileSyncOptions } from "node:child_process";
import { dirname, join } from "node:path";
import { bucketServer, projectRoot } from "./pod.ts";

/** Before all tests: the right Node, the bundles that tests run, and a place for compiled code. */
export default function setup(): void {
	const major = Number(process.versions.node.split(".")[0]);
	if (major < 24)
		throw new Error(`the tests need Node 24, this is ${process.version}: run them with npm test, after npm ci`);
	// Hundreds of times a test starts a program that is written in TypeScript: with its compiled code at hand that costs a third.
	process.env["NODE_COMPILE_CACHE"] ??= join(projectRoot, "node_modules/.cache/compiled");
	const options: ExecFileSyncOptions = { cwd: projectRoot, stdio: ["ignore", "ignore", "inherit"] };
	execFileSync("npm", ["run", "--silent", "build"], options);
	// Hundreds of times a test mounts a bucket with a process of its own: what is in one file starts in half the time.
	const bundle = ["--dir", dirname(bucketServer), "--platform", "node", "--external", "fuse-native", "--sourcemap"];
	const programs = ["test/s3-filesystem/serve-bucket.ts", "src/filesystem-process/thread.ts"];
	execFileSync("node_modules/.bin/rolldown", [...programs, ...bundle], options);
}
