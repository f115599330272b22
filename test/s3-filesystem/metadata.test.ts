import { open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { CopyObjectCommand, HeadObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { sh, useBuckets } from "./buckets.ts";

const buckets = useBuckets("metadata");
/** A server whose listings hold no metadata, as most do not. */
let plain: FaultProxy;
let held: FaultProxy;

beforeAll(async () => {
	plain = await startFaultProxy(buckets.minio.endpoint);
	held = await startFaultProxy(buckets.minio.endpoint);
	await plain.fail({ kind: "headers", headers: { server: undefined } });
});
afterAll(async () => {
	await plain.stop();
	await held.stop();
});

async function put(key: string, body: string, metadata: Record<string, string>): Promise<void> {
	await buckets.minio.client.send(
		new PutObjectCommand({
			Bucket: buckets.name,
			Key: key,
			Body: body,
			ContentLength: body.length,
			Metadata: metadata,
		}),
	);
}

async function metadataOf(key: string): Promise<Record<string, string>> {
	const { Metadata = {} } = await buckets.minio.client.send(new HeadObjectCommand({ Bucket: buckets.name, Key: key }));
	return Metadata;
}

const mode = (permissions: number): string => String(0o100_000 | permissions);

describe.each(["MinIO", "plain"])("with listings of %s", (kind) => {
	const endpoint = (): string => (kind === "MinIO" ? buckets.minio.endpoint : plain.endpoint);

	test("attributes that another mount changed are seen, though the content and its ETag stay the same", async () => {
		await put("file", "x", { mode: mode(0o644) });
		const here = await buckets.mount({ endpoint: endpoint(), volume: { ttlMs: 1000, attributes: "all" } });
		expect(await sh(here, "stat -c %a file")).toBe("644");
		await buckets.minio.client.send(
			new CopyObjectCommand({
				Bucket: buckets.name,
				Key: "file",
				CopySource: `${buckets.name}/file`,
				Metadata: { mode: mode(0o600), other: "kept" },
				MetadataDirective: "REPLACE",
			}),
		);
		await delay(1500);
		expect(await sh(here, "stat -c %a file")).toBe("600");
		await sh(here, "chmod 640 file");
		expect(await metadataOf("file")).toMatchObject({ mode: mode(0o640), other: "kept" });
	});

	test("a file that was changed has the time of the change, whatever its object said before", async () => {
		await put("file", "x", { mode: mode(0o600), mtime: "1000000000", other: "kept" });
		const here = await buckets.mount({ endpoint: endpoint() });
		const before = Date.now() / 1000 - 1;
		await sh(here, "echo more >>file");
		const { mtime = "", ...others } = await metadataOf("file");
		expect(Number(mtime)).toBeGreaterThan(before);
		expect(others).toEqual({ mode: mode(0o600), other: "kept" });
	});

	test("a time that is set while the file is open stays", async () => {
		await put("file", "x", { mtime: "1000000000" });
		const here = await buckets.mount({ endpoint: endpoint() });
		await sh(here, "exec 3>>file; echo more >&3; touch -d @1500000000 file; exec 3>&-");
		expect((await metadataOf("file"))["mtime"]).toBe("1500000000");
	});

	test("removing a name leaves the attributes of its directory alone that nobody has asked for", async () => {
		await put("directory/", "", { mode: String(0o040_710), uid: "7" });
		await buckets.minio.put(buckets.name, "directory/file", "x");
		const here = await buckets.mount({ endpoint: endpoint() });
		await sh(here, "ls -U; rm directory/file");
		expect(await metadataOf("directory/")).toMatchObject({ mode: String(0o040_710), uid: "7" });
		expect(await sh(here, "stat -c '%a %u' directory")).toBe("710 7");
	});

	test("the time of a directory does not go back when its attributes are asked for again", async () => {
		await put("directory/", "", { mtime: "1000000000" });
		const here = await buckets.mount({ endpoint: endpoint(), volume: { ttlMs: 500 } });
		const stat = "stat -c %Y directory";
		// The kernel knows it as long as it is open, whatever makes it drop what nobody uses.
		const directory = await open(join(here.target, "directory"));
		try {
			expect(await sh(here, stat)).toBe("1000000000");
			await sh(here, "echo x >directory/file");
			await delay(800);
			expect(Number(await sh(here, stat))).toBeGreaterThan(1_700_000_000);
			await sh(here, "touch -d @1500000000 directory");
			await delay(800);
			expect(await sh(here, stat)).toBe("1500000000");
		} finally {
			await directory.close();
		}
	});
});

test("a file that was replaced since it was listed is looked up as it is now", async () => {
	await buckets.minio.put(buckets.name, "file", "old");
	await buckets.minio.put(buckets.name, "other", "x");
	const here = await buckets.mount({ endpoint: plain.endpoint, volume: { attributes: "all" } });
	await sh(here, "stat other");
	await buckets.minio.put(buckets.name, "file", "newer");
	expect(await sh(here, "cat file")).toBe("newer");
});

test("a directory whose own object the key may not read is shown with what is below it", async () => {
	await buckets.minio.put(buckets.name, "shared/public/file", "x");
	const credentials = await buckets.minio.temporaryCredentials({
		policy: {
			Version: "2012-10-17",
			Statement: [
				{ Effect: "Allow", Action: ["s3:ListBucket"], Resource: [`arn:aws:s3:::${buckets.name}`] },
				{ Effect: "Allow", Action: ["s3:GetObject"], Resource: [`arn:aws:s3:::${buckets.name}/shared/public/*`] },
			],
		},
	});
	const here = await buckets.mount({ credentials });
	expect(await sh(here, "cat shared/public/file; stat -c %a shared")).toBe("x755");
});

test("what is written while the close of another descriptor is under way counts for the time", async () => {
	const [asked, written] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
	const before = async (): Promise<void> => {
		asked.resolve();
		await written.promise;
	};
	await held.fail({ kind: "headers", headers: {} }, { only: ({ method }) => method === "PUT", times: 1, before });
	const here = await buckets.mount({ endpoint: held.endpoint });
	const script = `
import os, sys, threading, time
file = os.open("file", os.O_CREAT | os.O_WRONLY)
os.write(file, b"one")
closing = threading.Thread(target=os.close, args=[os.dup(file)])
closing.start()
sys.stdin.readline()
time.sleep(0.1)
now = time.time_ns()
# What is written gets the whole millisecond of its time.
time.sleep(0.01)
writing = threading.Thread(target=os.write, args=[file, b"two"])
writing.start()
# It waits for what close uploads.
time.sleep(0.2)
print("written", flush=True)
closing.join(), writing.join()
print("younger" if os.fstat(file).st_mtime_ns > now else "older")
os.close(file)
print("younger" if os.stat("file").st_mtime_ns > now else "older")`;
	const program = execa("python3", ["-c", script], { cwd: here.target, timeout: 20_000 });
	await asked.promise;
	program.stdin.write("\n");
	for await (const line of program) if (line === "written") written.resolve();
	expect((await program).stdout).toBe("written\nyounger\nyounger");
});

test("attributes that were asked for before a change, and come after it, do not take it back", async () => {
	await put("directory/", "", { mode: String(0o040_755) });
	const here = await buckets.mount({ endpoint: held.endpoint });
	// The kernel knows the name, and not its attributes.
	await sh(here, "ls -U");
	await held.mode("slow-first-byte");
	const before = held.requests;
	const asking = sh(here, "stat -c %a directory");
	await vi.waitFor(() => expect(held.requests).toBeGreaterThan(before), 10_000);
	await held.mode("pass");
	await sh(here, "chmod 700 directory");
	await asking;
	expect(await sh(here, "stat -c %a directory")).toBe("700");
	expect(await metadataOf("directory/")).toMatchObject({ mode: String(0o040_700) });
	await sh(here, "chown 7 directory");
	expect(await metadataOf("directory/")).toMatchObject({ mode: String(0o040_700), uid: "7" });
});
