/**
 * What an adapter needs, for every framework the same: route facts in, outcome out. Adapters for other frameworks can be
 * written against this entry alone. Checks of options, and trace IDs, for whatever else speaks HTTP with a gateway.
 *
 * @module
 */
export { compileResource } from '../action.js'
export { errorOf } from '../errors.js'
export { assertFunction, assertMs, assertOneOf, assertOptions } from '../options.js'
export { issuesOf } from '../policy/issues.js'
export { problemBody, refusalBody, refusalHeaders } from '../refusal.js'
export { isPromise } from '../settle.js'
export { answerOfCheck } from '../sources/gateway-answer.js'
export { isTraceId, newTraceId, traceIdOfParent } from '../trace.js'
export type { GatewayAnswer } from '../transport/transport.js'
export { bearerOf } from './check.js'
export { bindController, type DecoratorArguments, decorate, isDecoratorCall } from './decorator.js'
export { type AdapterGuard, createHttpGuard, type HttpGuard, type Identified } from './http-guard.js'
export {
  dropLateAnswers,
  HEADERS_OF_A_BODY,
  type HeldResponse,
  holdAnswer,
  type IncomingHeaders,
  joinedHeader,
  type Replacement,
} from './node-server.js'
export type { ProtectOptions, ReadOptions } from './options.js'
export type { Outcome, Pass, Refusal, RequestReader } from './outcome.js'
export { prefersProblem, refusalOf } from './outcome.js'
export {
  type CheckOfRoute,
  type DynamicRouteOptions,
  type OpenRoute,
  type OwnCheck,
  OwnChecks,
  type PassingMiddleware,
  type RouteOptions,
  readOpen,
  readOwnCheck,
} from './own-check.js'
export type { RouteCheck, RouteFacts, RouteRow } from './route.js'
