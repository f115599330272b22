import { execFileSync } from "node:child_process";
import { projectRoot } from "./pod.ts";

/** Before all tests: the right Node, and the bundle that the end-to-end tests run. */
export default function setup(): void {
	const major = Number(process.versions.node.split(".")[0]);
	if (major < 24)
		throw new Error(`the tests need Node 24, this is ${process.version}: run them with npm test, after npm ci`);
	execFileSync("npm", ["run", "--silent", "build"], { cwd: projectRoot, stdio: ["ignore", "ignore", "inherit"] });
}
