import type { z } from 'zod'
import { issuesIn } from '../admin/read-request.js'
import { badRequest } from '../http/errors.js'
import type { EntryNotes, Services } from '../services.js'
import {
  type Evaluation,
  evaluationRequest,
  type PartialEvaluation,
  partialEvaluation,
  type semantic,
} from './authzen-schemas.js'
import { type Asker, type Evaluated, evaluate, failureOf, type Prepared, prepare } from './evaluate.js'

type Parts = Pick<Services, 'identity' | 'decide'>

/** Several questions of one request. */
export interface Batch {
  readonly defaults: PartialEvaluation
  readonly evaluations: readonly unknown[]
  readonly semantic: z.infer<typeof semantic>
}

/**
 * Decides several evaluations, in order. With `execute_all` every one is answered: all subjects are looked up first, and all
 * questions are then asked without a pause, on one policy version. With the other two the answers end with the first deny, or
 * the first permit, and nothing behind it is asked or recorded.
 */
export async function evaluateAll(
  parts: Parts,
  { defaults, evaluations, semantic }: Batch,
  asker: Asker,
  traceId: string,
  entry: EntryNotes,
): Promise<Evaluated[]> {
  const prepareOne = (given: unknown) => attempt(async () => prepare(parts, complete(given, defaults), asker, traceId))
  const decideOne = async (prepared: Prepared | Evaluated) =>
    'decision' in prepared ? prepared : attempt(() => evaluate(parts, prepared, asker, entry))
  if (semantic === 'execute_all') {
    const prepared = await Promise.all(evaluations.map(prepareOne))
    return Promise.all(prepared.map(decideOne))
  }
  const answers: Evaluated[] = []
  for (const given of evaluations) {
    const answer = await decideOne(await prepareOne(given))
    answers.push(answer)
    if (answer.decision === (semantic === 'permit_on_first_permit')) break
  }
  return answers
}

async function attempt<T>(run: () => Promise<T>): Promise<T | Evaluated> {
  try {
    return await run()
  } catch (error) {
    return failureOf(error)
  }
}

/**
 * An evaluation with the defaults of its request. A member that is there replaces the default as a whole; only what identifies
 * it (`type`, `id`, `name`) is taken from the default where it is missing.
 *
 * @throws RequestError 400 when something is missing or of the wrong type.
 */
function complete(given: unknown, defaults: PartialEvaluation): Evaluation {
  const own = parseWith(partialEvaluation, given)
  return parseWith(evaluationRequest, {
    subject: own.subject === undefined ? defaults.subject : { ...identityOf(defaults.subject), ...own.subject },
    action: own.action === undefined ? defaults.action : { ...identityOf(defaults.action), ...own.action },
    resource: own.resource === undefined ? defaults.resource : { ...identityOf(defaults.resource), ...own.resource },
    context: own.context ?? defaults.context,
  })
}

function identityOf(entity: object | undefined): object {
  const { properties: _, ...identity } = (entity ?? {}) as { properties?: unknown }
  return identity
}

/** @throws RequestError 400 that names every place. */
export function parseWith<T>(schema: z.ZodType<T>, value: unknown): T {
  const { success, data, error } = schema.safeParse(value)
  if (success) return data
  const issues = issuesIn(error, schema, value).map(({ path, message }) => ({ path: path.join('.'), message }))
  throw badRequest('The evaluation is not well formed', issues)
}
