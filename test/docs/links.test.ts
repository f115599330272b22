import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { projectRoot } from "../support/pod.ts";

/** As GitHub makes an anchor of a heading. */
function anchorsOf(page: string): string[] {
	return [...page.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
		heading
			.toLowerCase()
			.replaceAll(/[^\p{L}\p{N} _-]/gu, "")
			.replaceAll(" ", "-"),
	);
}

test("links between pages lead to files and headings that exist", () => {
	const pages = globSync(["*.md", "docs/**/*.md", "examples/**/*.md"], { cwd: projectRoot });
	expect(pages.length).toBeGreaterThan(15);
	const broken = pages.flatMap((page) => {
		const text = readFileSync(join(projectRoot, page), "utf8");
		return [...text.matchAll(/\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].flatMap(([link, path = "", anchor]) => {
			const file = path === "" ? join(projectRoot, page) : join(projectRoot, dirname(page), path);
			if (!existsSync(file)) return [`${page}: ${link}`];
			if (anchor === undefined || !file.endsWith(".md")) return [];
			return anchorsOf(readFileSync(file, "utf8")).includes(anchor) ? [] : [`${page}: ${link}`];
		});
	});
	expect(broken).toEqual([]);
});

test("npm commands that pages and programs name are in package.json", () => {
	const { scripts } = JSON.parse(readFileSync(join(projectRoot, "package.json"), "utf8")) as { scripts: object };
	const texts = globSync(["*.md", "docs/**/*.md", "examples/**/*.md", "bench/**/*.{md,ts}", "test/**/*.ts"], {
		cwd: projectRoot,
	}).map((path) => readFileSync(join(projectRoot, path), "utf8"));
	const named = new Set(
		texts.flatMap((text) => [...text.matchAll(/npm run (?:-s )?([\w:-]+)/g)].map(([, name]) => name)),
	);
	expect(named.size).toBeGreaterThan(5);
	expect([...named].filter((name) => name !== undefined && !Object.hasOwn(scripts, name))).toEqual([]);
});
