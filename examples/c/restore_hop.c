/* Runs an exported spectrum model hop by hop behind a black box, like runtime/core.py, with ONNX Runtime's C API.
 *
 *     restore_hop MODEL DEGRADED NOISY OUT [STRENGTH]
 *
 * Audio files are raw float32, little-endian, mono, 48 kHz; sample n of both inputs is the same instant. OUT is as long
 * as DEGRADED and aligned with it. STRENGTH is from 0 to 1 and defaults to the file's own. A live product does the same
 * with hops as they arrive: its output is one hop late, and noisy must be two hops ahead.
 */

#include <complex.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "onnxruntime_c_api.h"

enum { HOP = 480, WINDOW = 960, BINS = 481, HINTS = 33, AHEAD = 2, LATE = 1, MOST = 64, NAME = 128 };

static const double PI = 3.14159265358979323846;
static const OrtApi *ort;
static OrtAllocator *allocator;

static void fail(const char *what, const char *why) {
    fprintf(stderr, "error: %s: %s\n", what, why);
    exit(1);
}

static void must(OrtStatus *status) {
    if (status) fail("ONNX Runtime", ort->GetErrorMessage(status));
}

/* --- frames: window, spectrum, inverse ------------------------------------------------------------------------ */

static float window[WINDOW];
static double complex turn[WINDOW]; /* exp(-2 pi i n / 960) */

static void make_tables(void) {
    for (int n = 0; n < WINDOW; n++) {
        double sine = sin(PI * (n + 0.5) / WINDOW);
        window[n] = (float)sin(0.5 * PI * sine * sine);
        turn[n] = cexp(-2.0 * I * PI * n / WINDOW);
    }
}

/* Decimation in time by the smallest prime factor: 960 = 2^6 3 5. `step` is the stride of the input. */
static void transform(int n, int step, const double complex *in, double complex *out) {
    if (n == 1) {
        out[0] = in[0];
        return;
    }
    int p = n % 2 == 0 ? 2 : n % 3 == 0 ? 3 : 5, m = n / p;
    for (int r = 0; r < p; r++) transform(m, step * p, in + r * step, out + r * m);
    for (int k = 0; k < m; k++) {
        double complex part[5];
        for (int r = 0; r < p; r++) part[r] = out[r * m + k];
        for (int q = 0; q < p; q++) {
            double complex sum = 0;
            for (int r = 0; r < p; r++) sum += part[r] * turn[r * (k + q * m) * (WINDOW / n) % WINDOW];
            out[q * m + k] = sum;
        }
    }
}

/* The spectrum (real parts, then imaginary parts) of the previous hop and this one; only this side divides by 960. */
static void analyse(const float *before, const float *hop, float *spectrum) {
    double complex in[WINDOW], out[WINDOW];
    for (int n = 0; n < HOP; n++) {
        in[n] = before[n] * window[n];
        in[n + HOP] = hop[n] * window[n + HOP];
    }
    transform(WINDOW, 1, in, out);
    for (int k = 0; k < BINS; k++) {
        spectrum[k] = (float)(creal(out[k]) / WINDOW);
        spectrum[BINS + k] = (float)(cimag(out[k]) / WINDOW);
    }
}

/* The hop that a spectrum completes; `overlap` is carried over to the next call. */
static void synthesise(const float *spectrum, float strength, float *overlap, float *hop) {
    double complex in[WINDOW], out[WINDOW];
    for (int k = 0; k < BINS; k++) {
        double imaginary = k == 0 || k == BINS - 1 ? 0.0 : spectrum[BINS + k];
        in[k] = spectrum[k] - I * imaginary; /* conjugated, so that the forward transform inverts */
        if (k > 0 && k < BINS - 1) in[WINDOW - k] = conj(in[k]);
    }
    transform(WINDOW, 1, in, out);
    for (int n = 0; n < HOP; n++) {
        hop[n] = strength * (float)creal(out[n]) * window[n] + overlap[n];
        overlap[n] = strength * (float)creal(out[n + HOP]) * window[n + HOP];
    }
}

/* --- the model and its states --------------------------------------------------------------------------------- */

typedef struct {
    OrtSession *session;
    size_t inputs, outputs;
    char input[MOST][NAME], output[MOST][NAME];
    OrtValue *given[MOST];   /* by input; a state stays here until its next value replaces it */
    int next_of[MOST];       /* the output with an input's next state, or -1 */
    int residual, uses_noisy;
    float strength;          /* the file's own */
    float degraded[2 * BINS], noisy[2 * BINS], hints[HINTS];
} Model;

static OrtValue *tensor_over(float *data, size_t count, const int64_t *shape, size_t rank) {
    OrtMemoryInfo *memory;
    OrtValue *value;
    must(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    must(ort->CreateTensorWithDataAsOrtValue(memory, data, count * sizeof(float), shape, rank,
                                             ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &value));
    ort->ReleaseMemoryInfo(memory);
    return value;
}

/* Zeros of the shape that the graph declares for an input. */
static OrtValue *zero_state(OrtSession *session, size_t index) {
    OrtTypeInfo *type;
    const OrtTensorTypeAndShapeInfo *info;
    int64_t shape[8];
    size_t rank, count = 1;
    void *data;
    OrtValue *value;
    must(ort->SessionGetInputTypeInfo(session, index, &type));
    must(ort->CastTypeInfoToTensorInfo(type, &info));
    must(ort->GetDimensionsCount(info, &rank));
    if (rank > 8) fail("model", "has a state of more than 8 dimensions");
    must(ort->GetDimensions(info, shape, rank));
    for (size_t i = 0; i < rank; i++) count *= (size_t)shape[i];
    must(ort->CreateTensorAsOrtValue(allocator, shape, rank, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &value));
    must(ort->GetTensorMutableData(value, &data));
    memset(data, 0, count * sizeof(float));
    ort->ReleaseTypeInfo(type);
    return value;
}

static void check_fact(OrtModelMetadata *facts, const char *key, const char *expected) {
    char *value = NULL;
    must(ort->ModelMetadataLookupCustomMetadataMap(facts, allocator, key, &value));
    if (!value) fail(key, "is missing; the file was not exported by this project");
    if (strcmp(value, expected)) fail(key, "is not what this program runs; it runs only spectrum models of format 3 with hops of 480 samples");
    must(ort->AllocatorFree(allocator, value));
}

static float strength_of(const char *text) {
    char *end;
    float strength = strtof(text, &end);
    if (end == text || *end || !(strength >= 0.0f && strength <= 1.0f)) fail(text, "is not a valid strength; expected a number from 0 to 1");
    return strength;
}

static void take_name(char *target, char *name) {
    if (strlen(name) >= NAME) fail(name, "is too long for an input or output name");
    strcpy(target, name);
    must(ort->AllocatorFree(allocator, name));
}

static void open_model(Model *model, OrtEnv *env, const char *path) {
    OrtSessionOptions *options;
    OrtModelMetadata *facts;
    char *name;
    must(ort->CreateSessionOptions(&options));
    must(ort->SetIntraOpNumThreads(options, 1));
    must(ort->CreateSession(env, path, options, &model->session));
    ort->ReleaseSessionOptions(options);
    must(ort->SessionGetModelMetadata(model->session, &facts));
    check_fact(facts, "timbre_restore.format", "3");
    check_fact(facts, "timbre_restore.domain", "spectrum");
    check_fact(facts, "timbre_restore.hop_samples", "480");
    char *strength = NULL;
    must(ort->ModelMetadataLookupCustomMetadataMap(facts, allocator, "timbre_restore.strength", &strength));
    model->strength = strength ? strength_of(strength) : 1.0f;
    if (strength) must(ort->AllocatorFree(allocator, strength));
    ort->ReleaseModelMetadata(facts);
    must(ort->SessionGetInputCount(model->session, &model->inputs));
    must(ort->SessionGetOutputCount(model->session, &model->outputs));
    if (model->inputs > MOST || model->outputs > MOST) fail(path, "has too many inputs or outputs");
    model->residual = -1;
    for (size_t i = 0; i < model->outputs; i++) {
        must(ort->SessionGetOutputName(model->session, i, allocator, &name));
        take_name(model->output[i], name);
        if (!strcmp(model->output[i], "residual")) model->residual = (int)i;
    }
    if (model->residual < 0) fail(path, "has no output 'residual'");
    for (int i = 0; i < HINTS; i++) model->hints[i] = i < HINTS - 1 ? 1.0f : 10.0f; /* neutral hints */
    const int64_t frame[] = {1, 2, 1, BINS}, row[] = {1, 1, HINTS};
    for (size_t i = 0; i < model->inputs; i++) {
        must(ort->SessionGetInputName(model->session, i, allocator, &name));
        take_name(model->input[i], name);
        name = model->input[i];
        model->next_of[i] = -1;
        if (!strncmp(name, "state_", 6)) {
            for (size_t k = 0; k < model->outputs; k++)
                if (!strncmp(model->output[k], "next_", 5) && !strcmp(model->output[k] + 5, name + 6))
                    model->next_of[i] = (int)k;
            if (model->next_of[i] < 0) fail(name, "is a state without a matching next_ output");
            model->given[i] = zero_state(model->session, i);
        } else if (!strcmp(name, "degraded")) {
            model->given[i] = tensor_over(model->degraded, 2 * BINS, frame, 4);
        } else if (!strcmp(name, "noisy")) {
            model->given[i] = tensor_over(model->noisy, 2 * BINS, frame, 4);
            model->uses_noisy = 1;
        } else if (!strcmp(name, "hints")) {
            model->given[i] = tensor_over(model->hints, HINTS, row, 3);
        } else {
            fail(name, "is an unknown input");
        }
    }
}

/* Run one frame through the graph: writes `residual` `[2, 481]` and advances every state. */
static void run_frame(Model *model, float *residual) {
    const char *inputs[MOST], *outputs[MOST];
    OrtValue *results[MOST] = {0};
    void *data;
    for (size_t i = 0; i < model->inputs; i++) inputs[i] = model->input[i];
    for (size_t i = 0; i < model->outputs; i++) outputs[i] = model->output[i];
    must(ort->Run(model->session, NULL, inputs, (const OrtValue *const *)model->given, model->inputs, outputs,
                  model->outputs, results));
    must(ort->GetTensorMutableData(results[model->residual], &data));
    memcpy(residual, data, sizeof(float) * 2 * BINS);
    for (size_t i = 0; i < model->inputs; i++) {
        if (model->next_of[i] < 0) continue;
        ort->ReleaseValue(model->given[i]);
        model->given[i] = results[model->next_of[i]];
        results[model->next_of[i]] = NULL;
    }
    for (size_t i = 0; i < model->outputs; i++)
        if (results[i]) ort->ReleaseValue(results[i]);
}

/* --- files and main loop -------------------------------------------------------------------------------------- */

static float *read_sound(const char *path, size_t *count) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path, "can't be read");
    fseek(file, 0, SEEK_END);
    *count = (size_t)ftell(file) / sizeof(float);
    rewind(file);
    float *samples = malloc((*count + 1) * sizeof(float));
    if (!samples || fread(samples, sizeof(float), *count, file) != *count) fail(path, "can't be read to its end");
    fclose(file);
    size_t repaired = 0;
    for (size_t n = 0; n < *count; n++) {
        if (fabsf(samples[n]) < 1e-20f) samples[n] = 0.0f; /* denormals can make a hop many times as expensive */
        if (fabsf(samples[n]) <= 65536.0f) continue;
        samples[n] = 0.0f; /* NaN or invalid: it would stay in a state for ever */
        repaired++;
    }
    if (repaired) fprintf(stderr, "warning: %s: %zu invalid samples were replaced with silence\n", path, repaired);
    return samples;
}

/* Hop `index` of a sound; zeros before its start and after its end. */
static void hop_of(const float *samples, size_t count, long index, float *hop) {
    for (long n = 0; n < HOP; n++) {
        long at = index * HOP + n;
        hop[n] = at >= 0 && (size_t)at < count ? samples[at] : 0.0f;
    }
}

int main(int argc, char **argv) {
    if (argc < 5) fail("usage", "restore_hop MODEL DEGRADED NOISY OUT [STRENGTH]");
    const OrtApiBase *base = OrtGetApiBase();
    ort = base->GetApi(ORT_API_VERSION);
    if (!ort) fail("ONNX Runtime", "the library is older than the header");
    static Model model;
    OrtEnv *env;
    size_t count, noisy_count;
    must(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "restore_hop", &env));
    must(ort->GetAllocatorWithDefaultOptions(&allocator));
    make_tables();
    open_model(&model, env, argv[1]);
    float strength = argc > 5 ? strength_of(argv[5]) : model.strength;
    float *degraded = read_sound(argv[2], &count), *noisy = read_sound(argv[3], &noisy_count);
    if (model.uses_noisy && noisy_count < count) fail(argv[3], "is shorter than DEGRADED; they must begin together, and it must be at least as long");
    float before[HOP], hop[HOP], heard[HOP], newest[HOP], overlap[HOP] = {0}, restored[HOP], residual[2 * BINS];
    FILE *out = fopen(argv[4], "wb");
    if (!out) fail(argv[4], "can't be written");
    long hops = (long)((count + HOP - 1) / HOP), ahead = model.uses_noisy ? AHEAD : 0;
    for (long k = -ahead; k < hops + LATE; k++) { /* before 0: priming, with noisy next to silence */
        hop_of(degraded, count, k - 1, before);
        hop_of(degraded, count, k, hop);
        hop_of(noisy, noisy_count, k + ahead - 1, heard);
        hop_of(noisy, noisy_count, k + ahead, newest);
        analyse(before, hop, model.degraded);
        analyse(heard, newest, model.noisy);
        run_frame(&model, residual);
        synthesise(residual, k < 0 ? 0.0f : strength, overlap, restored);
        if (k < LATE) continue; /* output for the hop before the first */
        for (int n = 0; n < HOP; n++) restored[n] += before[n];
        size_t left = count - (size_t)(k - LATE) * HOP;
        fwrite(restored, sizeof(float), left < HOP ? left : HOP, out);
    }
    if (fclose(out)) fail(argv[4], "can't be written to its end");
    return 0;
}
