import { describe, expect, test } from "vitest";
import { ExpiringKeys, type ProvidedKeys } from "../../../src/s3/identity/expiring-keys.ts";

const second = 1000;
const minute = 60 * second;

/** A clock that stands still, and a provider that numbers its keys. */
class Stage {
	now = 0;
	asked = 0;
	lifeMs: number | undefined = 60 * minute;
	failure: Error | undefined;
	/** Held back until it is called. */
	held: (() => void) | undefined;
	isHolding = false;
	sameKeys = false;
	readonly renewed: string[] = [];
	readonly retries: number[] = [];
	readonly keys = new ExpiringKeys<ProvidedKeys>({
		now: () => this.now,
		expired: ({ accessKeyId }) => new Error(`${accessKeyId} expired already`),
		onRenewed: ({ accessKeyId }) => void this.renewed.push(accessKeyId),
		onFailed: (_, retryInMs) => void this.retries.push(retryInMs),
		provide: async () => {
			this.asked++;
			const { asked, lifeMs } = this;
			if (this.isHolding)
				await new Promise<void>((resolve) => {
					this.held = resolve;
				});
			if (this.failure !== undefined) throw this.failure;
			return {
				accessKeyId: this.sameKeys ? "same" : `key-${asked}`,
				secretAccessKey: "secret",
				...(lifeMs !== undefined && { expiresAt: new Date(this.now + lifeMs) }),
			};
		},
	});

	async name(): Promise<string> {
		return (await this.keys.get()).accessKeyId;
	}

	/** Also what goes on in the background. */
	async settled(): Promise<void> {
		await new Promise((resolve) => setImmediate(resolve));
	}
}

describe("keys", () => {
	test("are asked for once, by however many", async () => {
		const stage = new Stage();
		const names = await Promise.all(Array.from({ length: 100 }, async () => stage.name()));
		expect(new Set(names)).toEqual(new Set(["key-1"]));
		stage.now += 54 * minute;
		expect(await stage.name()).toBe("key-1");
		expect(stage.asked).toBe(1);
	});

	test("are renewed five minutes before they expire, while the old ones are used", async () => {
		const stage = new Stage();
		await stage.name();
		stage.now += 55 * minute;
		stage.isHolding = true;
		expect(await Promise.all([stage.name(), stage.name()])).toEqual(["key-1", "key-1"]);
		expect(stage.asked).toBe(2);
		stage.held?.();
		await stage.settled();
		expect(await stage.name()).toBe("key-2");
		expect(stage.renewed).toEqual(["key-1", "key-2"]);
	});

	test("that live shortly are renewed when a quarter of their life is left", async () => {
		const stage = new Stage();
		stage.lifeMs = 20 * second;
		await stage.name();
		stage.now += 14 * second;
		await stage.name();
		expect(stage.asked).toBe(1);
		stage.now += second;
		await stage.name();
		await stage.settled();
		expect(await stage.name()).toBe("key-2");
	});

	test("that have expired are not used: the new ones are waited for", async () => {
		const stage = new Stage();
		await stage.name();
		stage.now += 60 * minute;
		expect(await stage.name()).toBe("key-2");
	});

	test("without an end are looked at again after five minutes", async () => {
		const stage = new Stage();
		stage.lifeMs = undefined;
		stage.sameKeys = true;
		const first = await stage.keys.get();
		stage.now += 5 * minute;
		await stage.keys.get();
		await stage.settled();
		expect(stage.asked).toBe(2);
		// The same object, by which requests tell that nothing has changed.
		expect(await stage.keys.get()).toBe(first);
		expect(stage.renewed).toEqual(["same"]);
	});

	test("may be prolonged, and are the same then", async () => {
		const stage = new Stage();
		stage.sameKeys = true;
		const first = await stage.keys.get();
		stage.now += 58 * minute;
		await stage.keys.get();
		await stage.settled();
		stage.now += 10 * minute;
		expect(await stage.keys.get()).toBe(first);
		expect([stage.asked, stage.renewed]).toEqual([2, ["same"]]);
	});

	test("that the server refuses are asked for again, once a second at most", async () => {
		const stage = new Stage();
		const first = await stage.keys.get();
		stage.now += minute;
		const newer = await stage.keys.get({ refused: first });
		expect(newer.accessKeyId).toBe("key-2");
		// Who was refused the old ones gets those that are there.
		expect(await stage.keys.get({ refused: first })).toBe(newer);
		expect(await stage.keys.get({ refused: newer })).toBe(newer);
		expect(stage.asked).toBe(2);
		stage.now += second;
		expect((await stage.keys.get({ refused: newer })).accessKeyId).toBe("key-3");
	});
});

describe("a provider that fails", () => {
	test("is left alone for longer and longer, a minute at most", async () => {
		const stage = new Stage();
		stage.failure = new Error("down");
		for (let tries = 0; tries < 9; tries++) {
			await expect(stage.name()).rejects.toThrow("down");
			const retryInMs = stage.retries.at(-1) ?? 0;
			stage.now += retryInMs - 1;
			await expect(stage.name()).rejects.toThrow("down");
			expect(stage.asked).toBe(tries + 1);
			stage.now += 1;
		}
		expect(stage.retries.map((ms) => ms / second)).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60]);
		stage.failure = undefined;
		expect(await stage.name()).toBe("key-10");
	});

	test("is no reason to give up keys that still hold", async () => {
		const stage = new Stage();
		const first = await stage.keys.get();
		stage.failure = new Error("down");
		stage.now += 56 * minute;
		expect(await stage.keys.get()).toBe(first);
		await stage.settled();
		expect(await stage.keys.get({ refused: first })).toBe(first);
		expect(stage.retries).toEqual([second]);
		stage.now += 4 * minute;
		await expect(stage.keys.get()).rejects.toThrow("down");
		stage.failure = undefined;
		stage.now += minute;
		expect(await stage.name()).toBe("key-4");
	});

	test("also fails when its keys have expired already", async () => {
		const stage = new Stage();
		stage.lifeMs = -minute;
		await expect(stage.name()).rejects.toThrow("key-1 expired already");
	});
});
