import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { projectRoot } from "./pod.ts";

/** Before all tests: the right Node, the bundle that the end-to-end tests run, and a place for compiled code. */
export default function setup(): void {
	const major = Number(process.versions.node.split(".")[0]);
	if (major < 24)
		throw new Error(`the tests need Node 24, this is ${process.version}: run them with npm test, after npm ci`);
	// Hundreds of times a test starts a program that is written in TypeScript: with its compiled code at hand that costs a third.
	process.env["NODE_COMPILE_CACHE"] ??= join(projectRoot, "node_modules/.cache/compiled");
	execFileSync("npm", ["run", "--silent", "build"], { cwd: projectRoot, stdio: ["ignore", "ignore", "inherit"] });
}
