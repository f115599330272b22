import { pino } from "pino";
import { expect, test } from "vitest";
import { KnownServers } from "../../src/filesystem-process/known-servers.ts";
import { S3Error } from "../../src/s3/object-store.ts";
import type { ServerKnowledge } from "../../src/s3/server-knowledge.ts";

test("says once what a server lacks, knows it for all buckets there, and tells it without secrets", () => {
	const lines: Record<string, unknown>[] = [];
	const news: ServerKnowledge[] = [];
	const servers = new KnownServers({
		log: pino({ base: null }, { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) }),
		redact: (text) => text.replaceAll("hush", "[redacted]"),
		news: (server) => void news.push(server),
	});
	const server = servers.at({ endpoint: "http://store:9000/" });
	expect(servers.at({ endpoint: "http://store:9000" })).toBe(server);
	expect(servers.at({ endpoint: "http://other:9000" })).not.toBe(server);
	const error = new S3Error("UNSUPPORTED", "GetObject a: NotImplemented (hush)", {
		status: 501,
		code: "NotImplemented",
	});
	for (let index = 0; index < 3; index++) server.concede("conditional-reads", error);
	expect(lines).toMatchObject([
		{
			endpoint: "http://store:9000",
			concession: "conditional-reads",
			difference: expect.stringContaining("If-Match"),
			serverCode: "NotImplemented",
			msg: "the server differs from S3, and is used without that",
		},
	]);
	expect(news).toEqual([server]);
	expect(servers.concessionsOf(server)).toEqual([
		{
			name: "conditional-reads",
			message: expect.stringContaining("If-Match"),
			since: expect.any(String),
			noticed: "GetObject a: NotImplemented ([redacted])",
		},
	]);
});
