import type { Result, ServerResults } from "./run.ts";

/** docs/servers.md, of what was measured. */
export function renderPage(
	servers: readonly (ServerResults & { readonly cannot: Readonly<Record<string, string>> })[],
	stepNames: readonly string[],
): string {
	const notes: string[] = [];
	const noted = (text: string): string => {
		if (!notes.includes(text)) notes.push(text);
		return `[${notes.indexOf(text) + 1}]`;
	};
	const cell = (result: Result | undefined, cannot: string | undefined): string => {
		if (result === undefined) return "not run";
		if (result.outcome === "not there") return `– ${noted(result.said ?? "")}`;
		if (result.outcome === "works") return ["works", ...(result.without ?? []).map(noted)].join(" ");
		return cannot === undefined ? `**fails** ${noted(result.said ?? "")}` : `the server cannot ${noted(cannot)}`;
	};
	const rows = stepNames.map((step) => {
		const cells = servers.map(({ drivers, cannot }) =>
			cell(
				drivers.native?.results.find((result) => result.step === step),
				cannot[step],
			),
		);
		return `| ${step} | ${cells.join(" | ")} |`;
	});
	return `# Servers

What was done on which S3 server with the driver native, through a mount by the real launcher. Each step is done in a plain folder as
well, and what it came to is compared byte by byte: in the bucket, and in a new mount. \`npm run test:servers\` writes this page;
CONTRIBUTING.md says how.

*Works* with a number: the server lacks something, and it is done in another way; *fails*: the program got an error, or what it
left is not what it should be; –: the step tells nothing there.

| server | version |
|---|---|
${servers.map(({ title, version }) => `| ${title} | ${version} |`).join("\n")}

| | ${servers.map(({ title }) => title).join(" | ")} |
|---|${"---|".repeat(servers.length)}
${rows.join("\n")}

## Notes

${notes.map((text, index) => `${index + 1}. ${escaped(text)}`).join("\n")}
`;
}

/** Words of programs, which are no Markdown. */
function escaped(text: string): string {
	return text.replaceAll(/[\\`*_{}[\]<>|#]/g, (sign) => `\\${sign}`).replaceAll(/\s+/g, " ");
}
