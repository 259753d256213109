// Headers of label files: what they say about the split and about the location, and what is refused.

#include <gtest/gtest.h>

#include <sstream>

#include "base/error.hpp"
#include "probe/locations.hpp"
#include "probe/split.hpp"
#include "probe/task.hpp"

namespace protalbert {
namespace {

/// The record of ">p1 FIELDS" on line 7.
Record record(const std::string& header) {
    std::istringstream words(header);
    Record record{.id = "p1", .fields = {}, .text = "HEC", .line = 7};
    for (std::string word; words >> word;) record.fields.push_back(word);
    return record;
}

/// The message of the InputError that `work` throws; empty without one.
template <typename Work>
std::string refusal(const Work& work) {
    try {
        work();
    } catch (const InputError& error) {
        return error.what();
    }
    return "";
}

TEST(Split, OfTheDocumentedFieldsAlone) {
    const std::vector<std::pair<std::string, std::optional<Split>>> cases = {
        {"SET=train VALIDATION=False", Split::train},
        {"SET=train VALIDATION=True", Split::validation},
        {"SET=test VALIDATION=False", Split::test},
        {"set=test validation=false", Split::test},
        {"Set=Train Validation=True", Split::validation},
        {"SET=validation", Split::validation},
        {"SET=validation VALIDATION=True", Split::validation},
        {"SET=val", Split::validation},
        {"VALIDATION=True", Split::validation},
        {"VALIDATION=False", Split::train},
        {"SET=test SET=test", Split::test},
        {"SET = test", Split::test},
        {"SET= test", Split::test},
        {"SET =test", Split::test},
        {"GN= SET=test", Split::test},
        {"OS= SET=train VALIDATION=True", Split::validation},
        {"found by : a test", std::nullopt},
        {"", std::nullopt},
        {"test", std::nullopt},
        {"a protein of a pregnancy test", std::nullopt},
        {"found by a test: a protein SET=train", Split::train},
        {"test train validation", std::nullopt},
        // Fields of others: 'train' is in strain, 'test' in testis.
        {"strain=K12 tissue=testis OX=9606 GN=TEST PE=1 SET=train", Split::train},
        {"[strain=K12] Genus:Testudo hormone=Testosterone gene=TEST1 symbol:VAL1 [locus_tag=DEV_12] [gene=TRAIN]",
         std::nullopt},
        {"TARGET=Nucleus SET=test", Split::test},
    };
    for (const auto& entry : cases) {
        SCOPED_TRACE(entry.first);
        EXPECT_EQ(read_split("labels.fasta", record(entry.first)), entry.second);
    }
}

TEST(Split, WhatSeemsToBeOneIsRefused) {
    const char* const fields[] = {
        "STAGE=test",
        "stage=train",
        "split=test",
        "split:test",
        "set:test",
        "SET:train",
        "fold=validation",
        "FOLD=valid",
        "subset=Testing",
        "is_test=1",
        "isTest=True",
        "test=1",
        "TRAIN=1",
        "training:yes",
        "TESTSET=yes",
        "[SET=test]",
        "[split=train]",
        "(set:validation)",
        "part=test_1",
        "part=cv1-train",
        "VALID=True",
        "validated=1",
        "split=val",
        "split=dev",
        "val=1",
        "fold:holdout",
        "SET=dev",
        "SET=valid",
        "SET=holdout",
        "SET=",
        "SET=test,",
        "SET=\"test\"",
        "VALIDATION=",
        "VALIDATION=1",
        "VALIDATION:True",
        "split: test",
        "split = test",
        "trainTestSplit=0",
        "part=trainer",
        "TESTA=1",
        "TESTPROTEIN=1",
        "tested=yes",
        "isval=1",
        "held-out=1",
        "GN= SET:test",
        "GN=SET=test",
        "GN=x;SET=test",
        "OX=1|split=test",
        "OS=x;VALIDATION=True",
        "split : test",
        "split=evaluation",
        "split=val_set",
        "is_holdout=1",
        "split=held_out_set",
        "subset=valset",
        "mode: test",
        "SET :test",
    };
    for (const char* const field : fields) {
        SCOPED_TRACE(field);
        const std::string text = refusal([&] { read_split("labels.fasta", record(std::string(field) + " more")); });
        EXPECT_NE(text.find("labels.fasta:7: p1: '"), std::string::npos) << text;
        EXPECT_TRUE(text.find("write SET=") != std::string::npos || text.find("write VALIDATION=") != std::string::npos)
            << text;
    }
    // The first word of a header is the id.
    for (const char* const id : {"p1|SET=test", "p1|split:test"}) {
        Record glued = record("");
        glued.id = id;
        EXPECT_NE(refusal([&] { read_split("labels.fasta", glued); }), "");
    }
}

TEST(Split, ContradictionsAreRefused) {
    for (const char* const fields : {"SET=test VALIDATION=True", "VALIDATION=true set=test", "SET=train SET=test",
                                     "VALIDATION=True VALIDATION=False", "SET=validation VALIDATION=False"}) {
        SCOPED_TRACE(fields);
        const std::string text = refusal([&] { read_split("labels.fasta", record(fields)); });
        EXPECT_NE(text.find("labels.fasta:7: p1: "), std::string::npos) << text;
        EXPECT_NE(text.find("contradict"), std::string::npos) << text;
    }
    EXPECT_EQ(agreed_split(Split::test, "a", std::nullopt, "b"), Split::test);
    EXPECT_EQ(agreed_split(std::nullopt, "a", Split::train, "b"), Split::train);
    EXPECT_NE(refusal([] { agreed_split(Split::test, "a", Split::train, "b"); }), "");
}

std::int8_t class_of(const std::string& name) {
    const LabelKind& kind = label_kind(Task::localization, "location");
    for (std::size_t c = 0; c < kind.classes.size(); ++c)
        if (kind.classes[c] == name) return static_cast<std::int8_t>(c);
    return -2;
}

TEST(Locations, OfDeepLocAndFlip) {
    struct Case {
        std::string header, location;
        std::int8_t membrane;
        std::optional<Split> split;
    };
    const Case cases[] = {
        {"Nucleus-S", "Nucleus", 0, std::nullopt},
        {"Cell.membrane-M test", "Cell.membrane", 1, Split::test},
        {"Cell.membrane-M TEST", "Cell.membrane", 1, Split::test},
        {"Lysosome/Vacuole-U train", "Lysosome/Vacuole", -1, Split::train},
        {"Nucleus-S of a pregnancy test", "Nucleus", 0, std::nullopt},
        {"Nucleus-S SET=test", "Nucleus", 0, Split::test},
        {"Nucleus-S test SET=test", "Nucleus", 0, Split::test},
        {"TARGET=Nucleus SET=train VALIDATION=False", "Nucleus", -1, Split::train},
        {"SET=train VALIDATION=True TARGET=Nucleus", "Nucleus", -1, Split::validation},
        {"target=nucleus set=test", "Nucleus", -1, Split::test},
        {"TARGET=Cell_membrane SET=val", "Cell.membrane", -1, Split::validation},
        {"TARGET=Cell-membrane", "Cell.membrane", -1, std::nullopt},
        {"TARGET=Cell.membrane-M SET=test", "Cell.membrane", 1, Split::test},
        {"TARGET=Endoplasmic_reticulum SET=test", "Endoplasmic.reticulum", -1, Split::test},
        {"TARGET=Endoplasmic.reticulum SET=test", "Endoplasmic.reticulum", -1, Split::test},
        {"TARGET=Lysosome_Vacuole SET=test", "Lysosome/Vacuole", -1, Split::test},
        {"TARGET=Lysosome/Vacuole a test", "Lysosome/Vacuole", -1, std::nullopt},
        {"some name TARGET=Golgi_apparatus SET=train", "Golgi.apparatus", -1, Split::train},
    };
    for (const Case& one : cases) {
        SCOPED_TRACE(one.header);
        const LocatedProtein protein = read_location("places.fasta", record(one.header));
        EXPECT_EQ(protein.location, class_of(one.location));
        EXPECT_EQ(protein.membrane, one.membrane);
        EXPECT_EQ(protein.split, one.split);
    }
    const LocatedProtein both = read_location("places.fasta", record("Cytoplasm-Nucleus-S"));
    EXPECT_EQ(both.location, -1);
    EXPECT_EQ(both.membrane, 0);
    EXPECT_EQ(read_location("places.fasta", record("TARGET=Cytoplasm-Nucleus SET=test")).location, -1);
}

TEST(Locations, WhatIsNeitherIsRefused) {
    for (const char* const header :
         {"", "Nucleus", "Moon-S", "TARGET=Moon SET=train", "TARGET= SET=train", "TARGET:Nucleus",
          "TARGET=Nucleus TARGET=Plastid", "Nucleus-S [test]", "Nucleus-S validation", "Nucleus-S testing",
          "Nucleus-S val", "Nucleus-S dev", "Nucleus-S SET : test", "TARGET=Nucleus test", "Nucleus-S test SET=train",
          "Nucleus-S split=test", "TARGET=Nucleus STAGE=test", "Nucleus-X test"}) {
        SCOPED_TRACE(header);
        const std::string text = refusal([&] { read_location("places.fasta", record(header)); });
        EXPECT_NE(text.find("places.fasta:7: p1"), std::string::npos) << text;
    }
}

}  // namespace
}  // namespace protalbert
