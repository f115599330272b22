import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");

/** The declaration of what a driver file imports as `fluid-fuse`, made by tsc from src/vendor/contract.ts and kit.ts. */
export function declaration(): string {
	const folder = mkdtempSync(join(tmpdir(), "fluid-fuse-types-"));
	try {
		const words = [
			"-p",
			root,
			"--noEmit",
			"false",
			"--declaration",
			"--emitDeclarationOnly",
			"--noCheck",
			"--outDir",
			folder,
		];
		execFileSync(join(root, "node_modules/.bin/tsc"), [...words, "--rootDir", root], { stdio: "inherit" });
		const emitted = ["contract", "kit"]
			.map((name) => readFileSync(join(folder, `src/vendor/${name}.d.ts`), "utf8"))
			.join("")
			.replaceAll(/^(import|export) type .* from "\.\/contract\.ts";\n/gm, "");
		if (/^import /m.test(emitted)) throw new Error("src/vendor/kit.ts shows a type of another file");
		const body = emitted
			.replaceAll(/^export declare /gm, "export ")
			.replaceAll(/^ +/gm, (spaces) => "\t".repeat(spaces.length / 4))
			.replaceAll(/^(?=.)/gm, "\t");
		return `// What a driver file may import. Put this file beside yours; made from src/vendor by npm run types.\n\ndeclare module "fluid-fuse" {\n${body}}\n`;
	} finally {
		rmSync(folder, { recursive: true });
	}
}

if (import.meta.main) writeFileSync(join(import.meta.dirname, "fluid-fuse.d.ts"), declaration());
