// Scores of a compiled learnkit model, without Python.
//
//     scores model.pt2 TYPE:SHAPE:FILE [TYPE:SHAPE:FILE ...]
//
// An argument per input of the network, in their order (`inputs` of the description, which `scores model.pt2` prints). TYPE is
// float32 or int64, SHAPE is like 1x3x224x224, the items first, and FILE holds the numbers as text, separated by blanks:
//
//     scores income.pt2 int64:2x8:cats.txt float32:2x6:conts.txt
//     scores cats.pt2 float32:1x3x224x224:pixels.txt
//
// A line of scores is printed per item.

#include <cstdint>
#include <exception>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

template <typename Number>
at::Tensor read_numbers(const std::string& file, const std::vector<int64_t>& shape, at::ScalarType type) {
    int64_t wanted = 1;
    for (int64_t size : shape) wanted *= size;
    std::ifstream stream(file);
    if (!stream) throw std::runtime_error(file + " cannot be opened");
    std::vector<Number> numbers;
    for (Number number; stream >> number;) numbers.push_back(number);
    if (!stream.eof()) throw std::runtime_error(file + " holds something that is no number");
    if (static_cast<int64_t>(numbers.size()) != wanted)
        throw std::runtime_error(file + " holds " + std::to_string(numbers.size()) + " numbers; the shape needs " +
                                 std::to_string(wanted));
    return at::from_blob(numbers.data(), shape, type).clone();  // the vector ends here, the clone does not
}

at::Tensor read_input(const std::string& argument) {
    std::istringstream parts(argument);
    std::string type, sizes, file;
    if (!std::getline(parts, type, ':') || !std::getline(parts, sizes, ':') || !std::getline(parts, file))
        throw std::runtime_error("an input is TYPE:SHAPE:FILE, such as float32:1x6:row.txt; got " + argument);
    std::vector<int64_t> shape;
    std::istringstream stream(sizes);
    for (std::string size; std::getline(stream, size, 'x');) shape.push_back(std::stoll(size));
    if (type == "float32") return read_numbers<float>(file, shape, at::kFloat);
    if (type == "int64") return read_numbers<int64_t>(file, shape, at::kLong);
    throw std::runtime_error("TYPE is float32 or int64; got " + type);
}

int main(int argc, char** argv) {
    if (argc < 2) {
        std::cerr << "usage: scores model.pt2 [TYPE:SHAPE:FILE ...]\n";
        return 2;
    }
    try {
        const at::InferenceMode without_gradients;
        std::vector<at::Tensor> inputs;
        for (int i = 2; i < argc; i++) inputs.push_back(read_input(argv[i]));
        torch::inductor::AOTIModelPackageLoader model(argv[1]);
        if (inputs.empty()) {
            std::cout << model.get_metadata()["learnkit"] << "\n";
            return 0;
        }
        at::Tensor scores = model.run(inputs).at(0).contiguous();
        const int64_t n = scores.size(0);
        scores = scores.reshape({n, -1});
        std::cout << std::setprecision(9);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < scores.size(1); j++)
                std::cout << scores[i][j].item<float>() << (j + 1 < scores.size(1) ? ' ' : '\n');
    } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
    return 0;
}
