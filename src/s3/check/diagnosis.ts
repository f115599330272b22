import { LauncherError, type ErrorCode } from "../../errors.ts";
import { clockSkewMs, describeSkew } from "../clock-skew.ts";
import { secretKeyAdvice } from "./credentials.ts";
import { describe, type BucketLocation } from "../location.ts";
import type { Answer } from "./request.ts";
import { parseServerError, type ServerError } from "../server-error.ts";

export interface AnswerContext {
	readonly location: BucketLocation;
	/** Our clock when the answer came. */
	readonly now: Date;
}

/** What an answer to a listing of the bucket says is wrong. Undefined if nothing is, as far as we may know. */
export function diagnoseAnswer(answer: Answer, { location, now }: AnswerContext): LauncherError | undefined {
	const { status, headers } = answer;
	if (status === 200 && /<ListBucketResult[\s>]/.test(answer.body)) return undefined;
	// The driver may have credentials of its own that we know nothing of.
	if (location.credentials === undefined && (status === 401 || status === 403)) return undefined;

	const told = parseServerError(answer.body, location.credentials);
	const skewMs = clockSkewMs(headers.date ?? told?.serverTime?.toISOString(), now);
	const code = classify(answer, told, skewMs !== undefined);
	const { problem, hint } = explain(code, { answer, told, skewMs, location });
	const quote = told === undefined ? "" : ` (the server says ${told.code}${told.message ? `: ${told.message}` : ""})`;
	return new LauncherError(code, `${describe(location)}: ${problem}${quote}`, { hint });
}

type DiagnosisCode = Extract<
	ErrorCode,
	| "BUCKET_MISSING"
	| "ACCESS_DENIED"
	| "KEY_UNKNOWN"
	| "SIGNATURE_WRONG"
	| "TOKEN_INVALID"
	| "CLOCK_SKEW"
	| "REGION_WRONG"
	| "ENDPOINT_WRONG"
	| "BACKEND_FAILING"
>;

/** The codes of AWS, and of MinIO and Ceph where they have others. */
const meanings = new Map<string, DiagnosisCode>([
	["NoSuchBucket", "BUCKET_MISSING"],
	["InvalidBucketName", "BUCKET_MISSING"],
	["AccessDenied", "ACCESS_DENIED"],
	["AllAccessDisabled", "ACCESS_DENIED"],
	["AccountProblem", "ACCESS_DENIED"],
	["InvalidAccessKeyId", "KEY_UNKNOWN"],
	// With a status of 404, of versitygw.
	["XAdminUserNotFound", "KEY_UNKNOWN"],
	["SignatureDoesNotMatch", "SIGNATURE_WRONG"],
	["ExpiredToken", "TOKEN_INVALID"],
	["InvalidToken", "TOKEN_INVALID"],
	["InvalidTokenId", "TOKEN_INVALID"],
	["TokenRefreshRequired", "TOKEN_INVALID"],
	["RequestTimeTooSkewed", "CLOCK_SKEW"],
	["PermanentRedirect", "REGION_WRONG"],
	["TemporaryRedirect", "REGION_WRONG"],
	["Redirect", "REGION_WRONG"],
	["AuthorizationHeaderMalformed", "REGION_WRONG"],
	["IllegalLocationConstraintException", "REGION_WRONG"],
	["IllegalLocationConstraint", "REGION_WRONG"],
	["IncorrectEndpoint", "REGION_WRONG"],
	["SlowDown", "BACKEND_FAILING"],
	["RequestTimeout", "BACKEND_FAILING"],
]);

function classify({ status, headers, body }: Answer, told: ServerError | undefined, isSkewed: boolean): DiagnosisCode {
	const meaning = told === undefined ? undefined : meanings.get(told.code);
	// Servers that look at the signature before the time blame the key; an unknown key or a bad token is one at any time.
	const mayBeTime = meaning === undefined || meaning === "ACCESS_DENIED" || meaning === "SIGNATURE_WRONG";
	if (status === 403 && isSkewed && mayBeTime && !isWebPage(headers, body)) return "CLOCK_SKEW";
	// AWS, about an access key with a slash in it.
	if (meaning === "REGION_WRONG" && /credential is mal/i.test(told?.message ?? "")) return "KEY_UNKNOWN";
	if (meaning !== undefined) return meaning;

	if (status === 429 || (status >= 500 && status !== 501)) return "BACKEND_FAILING";
	if (status >= 300 && status < 400) return isRegionRedirect(headers, told) ? "REGION_WRONG" : "ENDPOINT_WRONG";
	const isSilent = body.trim() === "";
	if ((status === 401 || status === 403) && (told !== undefined || isSilent)) return "ACCESS_DENIED";
	return "ENDPOINT_WRONG";
}

/** S3 redirects without a Location, or to another name of itself; web servers redirect to https or to a login page. */
function isRegionRedirect(headers: Answer["headers"], told: ServerError | undefined): boolean {
	return told !== undefined || headers["x-amz-bucket-region"] !== undefined || headers.location === undefined;
}

function isWebPage(headers: Answer["headers"], body: string): boolean {
	return /^text\/html\b/i.test(headers["content-type"] ?? "") || /^\s*<(!doctype )?html/i.test(body);
}

interface Finding {
	readonly problem: string;
	readonly hint: string;
}

interface Facts {
	readonly answer: Answer;
	readonly told: ServerError | undefined;
	readonly skewMs: number | undefined;
	readonly location: BucketLocation;
}

function explain(code: DiagnosisCode, facts: Facts): Finding {
	const { answer, told, skewMs, location } = facts;
	switch (code) {
		case "BUCKET_MISSING":
			return {
				problem: "the bucket does not exist",
				hint: "Create the bucket, or correct its name, the endpoint or the region.",
			};
		case "ACCESS_DENIED":
			return {
				problem: "the key may not list the bucket",
				hint: `Allow the key s3:ListBucket on the bucket${location.prefix === "" ? "" : " for this prefix"}; s3:GetObject alone is not enough.`,
			};
		case "KEY_UNKNOWN":
			return {
				problem: "the server does not know the access key",
				hint: "Check the access key, and that it is one of this server.",
			};
		case "SIGNATURE_WRONG":
			return {
				problem: "the secret key does not belong to the access key",
				// Some servers say the same of a key that they do not know.
				hint: [
					"Check the secret key, and that the access key is one of this server.",
					location.credentials && secretKeyAdvice(location.credentials),
				]
					.filter((sentence) => sentence !== undefined)
					.join(" "),
			};
		case "TOKEN_INVALID":
			return location.credentials?.sessionToken === undefined
				? {
						problem: "the key is a temporary one, and its session token is not given",
						hint: "Give the token as option session-token.",
					}
				: {
						problem: "the session token has expired, or does not belong to the key",
						hint: "Get new temporary keys: access key, secret key and session token together.",
					};
		case "CLOCK_SKEW":
			return {
				problem: skewMs === undefined ? "this node's clock differs too much from the server's" : describeSkew(skewMs),
				hint: "Set the node's clock, and keep it right with NTP.",
			};
		case "REGION_WRONG":
			return explainRegion(facts);
		case "BACKEND_FAILING":
			return {
				problem:
					answer.status === 429 || told?.code === "SlowDown"
						? `the server asks for fewer requests (status ${answer.status})`
						: `the server fails (status ${answer.status})`,
				hint: "Look at the server's own health and logs; it is tried again.",
			};
		case "ENDPOINT_WRONG":
			return explainEndpoint(facts);
		default:
			return code satisfies never;
	}
}

function explainRegion({ answer, location }: Facts): Finding {
	const region = namedRegion(answer, location);
	return region === undefined
		? {
				problem: `the bucket is not in the region ${location.region} of this endpoint`,
				hint: "Set the option region to the bucket's region, and the endpoint to that region's.",
			}
		: {
				problem: `the bucket is in the region ${region}, not in ${location.region}`,
				hint: `Set the option region to ${region}, and the endpoint, if there is one, to that region's.`,
			};
}

/** The region that the server says the bucket is in, where that is another one. */
export function namedRegion({ headers, body }: Answer, { region, credentials }: BucketLocation): string | undefined {
	const header = headers["x-amz-bucket-region"];
	const named = typeof header === "string" ? header : parseServerError(body, credentials)?.region;
	return named !== undefined && named !== region && /^[a-z0-9-]{1,64}$/.test(named) ? named : undefined;
}

function explainEndpoint({ answer, told, location }: Facts): Finding {
	const { status, headers, body } = answer;
	const hint = "Check the endpoint's host and port: a console, a website or a proxy may be listening there.";
	// Go's and nginx's words.
	if (status === 400 && /HTTP request (was sent )?to (an )?HTTPS (server|port)/i.test(body)) {
		return { problem: "the server speaks TLS, but the endpoint says http", hint: "Write the endpoint with https://." };
	}
	if (status === 407) {
		return {
			problem: "a proxy wants a user name and a password",
			hint: "Put them into HTTP_PROXY or HTTPS_PROXY, or the endpoint into NO_PROXY.",
		};
	}
	// A bucket is never a missing key: the server took another part of the URL for the bucket.
	if (told?.code === "NoSuchKey") {
		return {
			problem: "the endpoint holds a bucket's name already",
			hint: "Leave the bucket out of the endpoint, or set the option path-style to fit it.",
		};
	}
	if (told !== undefined) {
		return {
			problem: `the server refuses to list the bucket (status ${status})`,
			hint: "Check that the endpoint, path-style and the region fit the server.",
		};
	}
	const target = URL.parse(headers.location ?? "", location.endpoint?.origin);
	if (status >= 300 && status < 400 && target !== null) {
		return { problem: `the endpoint is not S3: it redirects to ${target.origin}`, hint };
	}
	const what = isWebPage(headers, body) ? "a web page" : "something else";
	return { problem: `the endpoint is not S3: it answers with ${what} (status ${status})`, hint };
}
